"""Which layers of a manifest are SIFs, and which manifests are one SIF."""

from __future__ import annotations

import json

import pytest

from roadstead.oci import media_type
from roadstead.oci.manifest import Manifest, parse_manifest
from roadstead.oci.sif_manifest import sif_layer, sif_layers, sif_manifest
from tests.support.factories import Blob

SIF, MISSPELT, TEXT = (media_type.SIF_LAYER, media_type.SIF_LAYER_MISSPELT, "text/plain")
FILE = Blob(b"a SIF")


def parsed(*layers: tuple[Blob, str], kind: str = media_type.OCI_MANIFEST) -> Manifest:
    named = [blob.descriptor(layer) for blob, layer in layers]
    if kind == media_type.OCI_ARTIFACT_MANIFEST:
        return parse_manifest(json.dumps({"mediaType": kind, "blobs": named}).encode(), kind)
    config = Blob(b"{}").descriptor(media_type.SIF_CONFIG)
    return parse_manifest(json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": named}).encode(), kind)


@pytest.mark.parametrize("kind", [media_type.OCI_MANIFEST, media_type.DOCKER_MANIFEST, media_type.OCI_ARTIFACT_MANIFEST])
@pytest.mark.parametrize("layer", [SIF, MISSPELT])
def test_one_sif_by_itself(kind: str, layer: str) -> None:
    found = sif_layer(parsed((FILE, layer), kind=kind))
    assert found is not None and found.digest == FILE.digest


@pytest.mark.parametrize(
    ("layers", "sifs"),
    [
        ([(FILE, TEXT)], 0),
        ([], 0),
        ([(FILE, SIF), (Blob(b"b"), TEXT)], 1),
        ([(Blob(b"b"), TEXT), (FILE, SIF)], 1),
        ([(FILE, SIF), (FILE, SIF)], 1),
        ([(FILE, SIF), (Blob(b"b"), MISSPELT)], 2),
    ],
)
def test_what_is_given_out_as_a_sif_is_one_to_every_policy(layers: list[tuple[Blob, str]], sifs: int) -> None:
    for kind in (media_type.OCI_MANIFEST, media_type.OCI_ARTIFACT_MANIFEST):
        manifest = parsed(*layers, kind=kind)
        assert len(sif_layers(manifest)) == sifs
        assert sif_layer(manifest) is None


def test_the_manifest_that_clients_write_is_one_sif() -> None:
    made = parse_manifest(sif_manifest(FILE.digest, 5, "it.sif"), media_type.OCI_MANIFEST)
    assert sif_layers(made) == (sif_layer(made),)
