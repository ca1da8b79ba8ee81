from __future__ import annotations

from typing import Any

import pytest

from roadstead.oci.platform import is_attestation, written


@pytest.mark.parametrize(
    ("platform", "said"),
    [
        ({"os": "linux", "architecture": "amd64"}, "amd64"),
        ({"os": "linux", "architecture": "arm64", "variant": "v8"}, "arm64/v8"),
        ({"os": "windows", "architecture": "amd64", "os.version": "10.0.17763"}, "windows/amd64"),
        ({"architecture": "riscv64"}, "riscv64"),
        ({"os": "linux"}, "linux"),
        ({"os": "unknown", "architecture": "unknown"}, None),
        ({"os": ["linux"], "architecture": 7, "variant": {}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_platform_is_written_as_people_do(platform: dict[str, Any] | None, said: str | None) -> None:
    assert written(platform) == said


@pytest.mark.parametrize(
    ("platform", "annotations", "expected"),
    [
        ({"os": "unknown", "architecture": "unknown"}, {"vnd.docker.reference.type": "attestation-manifest"}, True),
        ({"os": "unknown", "architecture": "unknown"}, {}, True),
        (None, {"vnd.docker.reference.type": "attestation-manifest"}, True),
        ({"os": "linux", "architecture": "amd64"}, {"vnd.docker.reference.type": "other"}, False),
        ({"os": "linux", "architecture": "amd64"}, {}, False),
        (None, {}, False),
    ],
)
def test_what_speaks_of_an_image_is_told_from_one(platform: dict[str, Any] | None, annotations: dict[str, str], expected: bool) -> None:
    assert is_attestation(platform, annotations) is expected
