"""The official suite, in full, against a server of its own: nothing may fail and nothing may be skipped."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import pytest

from tests.protocols.conformance.suite import VERSION, SuiteMissing, build_suite, run_suite
from tests.support.server import RoadsteadServer

FEWEST_ASSERTIONS = 1000
"""Fewer than this means that the suite did not run what it has, whatever it says of the rest."""


@pytest.fixture(scope="module")
def suite() -> Path:
    """The suite's program. Skips by name where it cannot be built; with ROADSTEAD_REQUIRE_CONFORMANCE=1 that is a failure."""
    try:
        return build_suite()
    except SuiteMissing as missing:
        if os.environ.get("ROADSTEAD_REQUIRE_CONFORMANCE") == "1":
            pytest.fail(f"the official conformance suite is missing: {missing}")
        pytest.skip(f"the official conformance suite is missing: {missing}")


@pytest.mark.conformance
@pytest.mark.slow
def test_the_official_suite_finds_nothing_to_complain_of(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = secrets.token_hex(4)
    repositories = f"library/conformance-{run}-1", f"library/conformance-{run}-2"
    with RoadsteadServer(tmp_path / "data", {"ROADSTEAD_ACCEPT_ABSENT_CONTENT": "true"}) as server:
        report = run_suite(suite, server.host, repositories, server.admin_password, tmp_path / "results")
        log = server.last_lines()
    with capsys.disabled():
        sys.stdout.write(f"official suite {VERSION}: {report.summary()}\n")
    assert not report.failed and not report.skipped, f"{report.explain()}\n\nthe server's last lines:\n{log}"
    assert report.assertions >= FEWEST_ASSERTIONS
