"""Which tags are virtual, what an image is, and which parts of an index a project's platforms mean."""

from __future__ import annotations

import pytest

from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import index_of, parse_manifest
from roadstead.oci.reference import TagName
from roadstead.sif.forms import Form, fits, form_of, parts_for, virtual, written
from tests.support.factories import image


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("1.0.sif", ("1.0", Form.SIF)),
        ("latest.oci", ("latest", Form.OCI)),
        ("a.sif.oci", ("a.sif", Form.OCI)),
        ("sif", None),
        (".sif", None),
        ("x.SIF", None),
        ("1.0", None),
    ],
)
def test_a_virtual_tag_is_a_tag_with_a_suffix(tag: str, meant: tuple[str, Form] | None) -> None:
    assert virtual(TagName(tag)) == meant


@pytest.mark.parametrize(
    ("layer_type", "config_type", "form"),
    [
        (types.OCI_LAYER_GZIP, types.OCI_CONFIG, Form.OCI),
        (types.SIF_LAYER, types.SIF_CONFIG, Form.SIF),
        (types.SIF_LAYER_MISSPELT, types.OCI_CONFIG, Form.SIF),
        (types.SIF_LAYER, types.OCI_EMPTY, Form.SIF),
        (f"{types.OCI_LAYER_GZIP}+encrypted", types.OCI_CONFIG, Form.OCI),
        ("application/gzip", types.OCI_EMPTY, None),
        ("application/vnd.dev.cosign.simplesigning.v1+json", types.OCI_CONFIG, None),
        ("application/vnd.in-toto+json", types.OCI_CONFIG, None),
    ],
)
def test_what_an_image_is_its_layers_say_first(layer_type: str, config_type: str, form: Form | None) -> None:
    content = image(layer_type=layer_type).content.replace(types.OCI_CONFIG.encode(), config_type.encode())
    assert form_of(parse_manifest(content, None)) is form


def test_an_index_is_of_no_form_itself() -> None:
    assert form_of(parse_manifest(index_of([]), None)) is None


@pytest.mark.parametrize(
    ("wanted", "platform", "does"),
    [
        ("linux/amd64", {"os": "linux", "architecture": "amd64"}, True),
        ("linux/amd64", {"os": "linux", "architecture": "amd64", "variant": "v1"}, True),
        ("linux/amd64", {"os": "linux", "architecture": "amd64", "variant": "v3"}, False),
        ("linux/arm64", {"os": "linux", "architecture": "arm64", "variant": "v8"}, True),
        ("linux/arm/v6", {"os": "linux", "architecture": "arm"}, False),
        ("linux/arm/v7", {"os": "linux", "architecture": "arm"}, True),
        ("linux/amd64", {"os": "windows", "architecture": "amd64"}, False),
        ("linux/amd64", {}, False),
    ],
)
def test_a_variant_that_is_left_out_is_the_usual_one(wanted: str, platform: dict[str, str], does: bool) -> None:
    assert fits(wanted, platform) is does


def test_of_an_index_the_first_part_for_each_platform_is_meant_in_the_projects_order() -> None:
    def part(text: str, os: str, architecture: str) -> Descriptor:
        platform = {"os": os, "architecture": architecture}
        return Descriptor(types.OCI_MANIFEST, Digest.of(text.encode()), 1, platform=platform)

    intel, again, arm, attestation = (
        part("1", "linux", "amd64"),
        part("2", "linux", "amd64"),
        part("3", "linux", "arm64"),
        part("4", "unknown", "unknown"),
    )
    nameless = Descriptor(types.OCI_MANIFEST, Digest.of(b"5"), 1)
    there = [attestation, nameless, intel, again, arm]
    assert parts_for(("linux/arm64", "linux/amd64", "linux/s390x"), there) == (arm, intel)
    assert written(arm.platform or {}) == "linux/arm64"
