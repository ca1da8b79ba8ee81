from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.errors import InvalidManifest, ManifestTooLarge, RoadsteadError, UnsupportedManifestType
from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import ALGORITHMS, Digest
from roadstead.oci.manifest import MANIFEST_LIMIT, Manifest, index_of, parse_manifest

Json = dict[str, Any]


def described(content: bytes, media_type: str = types.OCI_LAYER_GZIP, algorithm: str = "sha256", **more: object) -> Json:
    return {"mediaType": media_type, "digest": str(Digest.of(content, algorithm)), "size": len(content), **more}


CONFIG = described(b"{config}", types.OCI_CONFIG)
LAYER = described(b"layer")


def image(**changes: object) -> Json:
    """An OCI image manifest; a change to ... leaves the property out."""
    body = {"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]} | changes
    return {key: value for key, value in body.items() if value is not ...}


def index(**changes: object) -> Json:
    body = {"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": [described(b"{image}", types.OCI_MANIFEST)]} | changes
    return {key: value for key, value in body.items() if value is not ...}


def read(body: Json, content_type: str | None = None) -> Manifest:
    return parse_manifest(json.dumps(body).encode(), body.get("mediaType") if content_type is None else content_type)


def refusal_of(content: bytes | Json, content_type: str | None = types.OCI_MANIFEST) -> str:
    with pytest.raises(InvalidManifest) as refusal:
        parse_manifest(content if isinstance(content, bytes) else json.dumps(content).encode(), content_type)
    return refusal.value.message


class TestReading:
    def test_an_image(self) -> None:
        manifest = read(image(annotations={"a": "b"}, subject=described(b"{}", types.OCI_MANIFEST)))
        assert manifest.media_type == types.OCI_MANIFEST
        assert manifest.config == Descriptor(types.OCI_CONFIG, Digest.of(b"{config}"), 8)
        assert manifest.layers == (Descriptor(types.OCI_LAYER_GZIP, Digest.of(b"layer"), 5),)
        assert manifest.subject == Descriptor(types.OCI_MANIFEST, Digest.of(b"{}"), 2)
        assert manifest.annotations == {"a": "b"}
        assert manifest.children == ()
        assert all(isinstance(blob.digest, Digest) for blob in manifest.blobs())

    def test_an_index(self) -> None:
        platform = {"os": "linux", "architecture": "arm64", "variant": "v8"}
        manifest = read(index(manifests=[described(b"{}", types.OCI_MANIFEST, platform=platform, annotations={"k": "v"})]))
        assert manifest.children == (Descriptor(types.OCI_MANIFEST, Digest.of(b"{}"), 2, annotations={"k": "v"}, platform=platform),)
        assert (manifest.config, manifest.layers, manifest.blobs()) == (None, (), ())

    def test_an_artifact_manifest_of_the_release_candidates(self) -> None:
        body = {
            "mediaType": types.OCI_ARTIFACT_MANIFEST,
            "artifactType": "application/vnd.example.sbom.v1",
            "blobs": [described(b"sbom", "application/vnd.example.sbom.v1")],
            "subject": described(b"{}", types.OCI_MANIFEST),
        }
        manifest = read(body)
        assert [blob.digest for blob in manifest.required_blobs()] == [Digest.of(b"sbom")]
        assert manifest.artifact_type == "application/vnd.example.sbom.v1"
        assert manifest.subject is not None

    @pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
    def test_digests_of_each_algorithm(self, algorithm: str) -> None:
        assert read(image(layers=[described(b"x", algorithm=algorithm)])).layers[0].digest.algorithm == algorithm


# One entry per data set that the conformance suite of distribution-spec pushes (conformance/run.go), then what real clients add.
ACCEPTED: dict[str, Json] = {
    "image": image(layers=[LAYER, described(b"second")]),
    "uncompressed image": image(layers=[described(b"tar", types.OCI_LAYER)]),
    "large manifest": image(annotations={f"large-annotation-{n}": "A" * 10_000 for n in range(390)}),
    "index": index(),
    "nested index": index(manifests=[described(b"{1}", types.OCI_INDEX), described(b"{2}", types.OCI_INDEX)]),
    "empty index": index(manifests=[]),
    "artifact": image(artifactType="application/vnd.example.v1", config=described(b"{}", types.OCI_EMPTY)),
    "artifact index": index(artifactType="application/vnd.example.v1"),
    "config equal to a layer": image(config=described(b"{}", types.OCI_EMPTY), layers=[described(b"{}", types.OCI_EMPTY)]),
    "index with subject": index(subject=described(b"{}", types.OCI_INDEX), annotations={"a": "b"}),
    "data": image(config=described(b"{}", types.OCI_EMPTY, data=base64.b64encode(b"{}").decode())),
    "non-distributable": image(layers=[described(b"x", types.OCI_LAYER_NONDISTRIBUTABLE, urls=["https://store.example.com/x"])]),
    "custom fields": image(**{"org.example": "x", "nested": {"layers": [None]}, "numbers": [1e300, -1]}),
    "no layers": image(layers=[]),
    "Go's nil layers": image(layers=None),
    "Go's nil manifests": index(manifests=None),
    "nulls for absent properties": image(
        subject=None, annotations=None, layers=[LAYER | {"annotations": None, "urls": None, "data": None}]
    ),
    "old Singularity's empty config": image(config=described(b"", types.SIF_CONFIG), layers=[described(b"sif", types.SIF_LAYER_MISSPELT)]),
    "Docker schema 2": image(mediaType=types.DOCKER_MANIFEST, config=described(b"{c}", types.DOCKER_CONFIG)),
    "Docker manifest list": index(mediaType=types.DOCKER_MANIFEST_LIST, manifests=[described(b"{}", types.DOCKER_MANIFEST)]),
    "absent layers": image(layers=...),
    "data beside nulls": image(layers=[described(b"{}", data=base64.b64encode(b"{}").decode(), platform=None)]),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_conformance_suite_and_real_clients_push_is_accepted(name: str) -> None:
    body = ACCEPTED[name]
    manifest = read(body)
    assert manifest.media_type == body["mediaType"]
    assert len(manifest.layers) == len(body.get("layers") or [])
    assert len(manifest.children) == len(body.get("manifests") or [])
    assert manifest.annotations == (body.get("annotations") or {})


def test_embedded_data_is_decoded() -> None:
    for name in ("data", "data beside nulls"):
        manifest = read(ACCEPTED[name])
        assert b"{}" in [blob.data for blob in manifest.blobs()]


class TestType:
    @pytest.mark.parametrize("generic", [None, "", "application/json", "Application/JSON; charset=utf-8", "application/octet-stream"])
    def test_without_a_telling_header_the_body_says_it(self, generic: str | None) -> None:
        content = json.dumps(image(mediaType=types.DOCKER_MANIFEST)).encode()
        assert parse_manifest(content, generic).media_type == types.DOCKER_MANIFEST

    def test_without_media_type_the_header_says_it(self) -> None:
        assert read(image(mediaType=...), types.DOCKER_MANIFEST).media_type == types.DOCKER_MANIFEST

    def test_parameters_and_case_of_the_header_are_ignored(self) -> None:
        assert read(image(), "Application/vnd.oci.image.manifest.v1+json; charset=utf-8").media_type == types.OCI_MANIFEST

    def test_header_and_body_must_agree(self) -> None:
        message = refusal_of(image(mediaType=types.DOCKER_MANIFEST))
        assert types.DOCKER_MANIFEST in message
        assert types.OCI_MANIFEST in message

    @pytest.mark.parametrize("unknown", ["text/html", types.OCI_CONFIG, "application/vnd.oci.image.manifest.v2+json", "x" * 9999])
    def test_an_unknown_type_is_unsupported_wherever_it_stands(self, unknown: str) -> None:
        for header in (unknown, None):
            with pytest.raises(UnsupportedManifestType, match="is not one that this registry stores"):
                parse_manifest(json.dumps(image(mediaType=unknown)).encode(), header)

    def test_no_type_at_all_is_unsupported(self) -> None:
        with pytest.raises(UnsupportedManifestType, match="neither a Content-Type nor its mediaType"):
            parse_manifest(json.dumps(image(mediaType=...)).encode(), None)

    @pytest.mark.parametrize("header", [*sorted(types.SCHEMA1_TYPES), None])
    def test_schema_1_is_told_to_push_schema_2(self, header: str | None) -> None:
        with pytest.raises(UnsupportedManifestType, match="push schema 2"):
            parse_manifest(b'{"schemaVersion": 1, "name": "a", "fsLayers": [{"blobSum": "sha256:x"}], "history": []}', header)


class TestArtifactType:
    """distribution-spec, "Listing Referrers"."""

    def test_is_the_manifests_own(self) -> None:
        assert read(image(artifactType="a/b")).artifact_type == "a/b"
        assert read(index(artifactType="a/b")).artifact_type == "a/b"

    @pytest.mark.parametrize("missing", [..., "", None])
    def test_is_the_configs_type_for_an_image_without_one(self, missing: object) -> None:
        assert read(image(artifactType=missing)).artifact_type == types.OCI_CONFIG

    @pytest.mark.parametrize("missing", [..., "", None])
    def test_is_absent_for_an_index_without_one(self, missing: object) -> None:
        assert read(index(artifactType=missing)).artifact_type is None


class TestBlobs:
    def test_each_digest_once_in_order(self) -> None:
        manifest = read(image(layers=[LAYER, described(b"second"), LAYER, CONFIG]))
        assert [blob.digest for blob in manifest.blobs()] == [Digest.of(b"{config}"), Digest.of(b"layer"), Digest.of(b"second")]
        assert manifest.required_blobs() == manifest.blobs()
        assert len(manifest.layers) == 4

    @pytest.mark.parametrize("kind", sorted(types.NON_DISTRIBUTABLE))
    def test_non_distributable_layers_are_not_required(self, kind: str) -> None:
        manifest = read(image(layers=[described(b"foreign", kind), LAYER]))
        assert [blob.digest for blob in manifest.required_blobs()] == [Digest.of(b"{config}"), Digest.of(b"layer")]
        assert len(manifest.blobs()) == 3

    def test_a_layer_that_is_also_distributable_is_required(self) -> None:
        manifest = read(image(layers=[described(b"layer", types.DOCKER_LAYER_FOREIGN_GZIP), LAYER]))
        assert Digest.of(b"layer") in [blob.digest for blob in manifest.required_blobs()]


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "rule"),
        [
            (image(schemaVersion=...), "schemaVersion must be 2, and is missing"),
            (image(schemaVersion=1), "schemaVersion must be 2, and is 1"),
            (image(schemaVersion="2"), "at schemaVersion: expected `int | null`, got `str`"),
            (image(config=...), "'config' is missing"),
            (image(config=None), "'config' is missing"),
            (image(config=[]), "at config: expected"),
            (image(manifests=[]), "has 'manifests', which belongs to an index"),
            (image(manifests=None), "has 'manifests', which belongs to an index"),
            (image(layers={}), "at layers: expected"),
            (image(layers=[LAYER, LAYER | {"size": -1}]), "at layers[1].size: expected `int` >= 0"),
            (image(layers=[LAYER | {"size": 2**63}]), "at layers[0].size: expected `int` <= 9223372036854775807"),
            (image(layers=[LAYER | {"size": 1.5}]), "at layers[0].size: expected `int`, got `float`"),
            (
                image(layers=[LAYER | {"digest": "sha256:x"}]),
                "at layers[0].digest: the digest 'sha256:x' is not valid: a sha256 hash has 64",
            ),
            (image(layers=[LAYER | {"digest": "md5:00"}]), "at layers[0].digest: the digest algorithm 'md5' is not supported"),
            (image(layers=[LAYER | {"digest": 5}]), "at layers[0].digest: expected a digest, got int"),
            (image(layers=[LAYER | {"digest": None}]), "at layers[0]: object missing required field `digest`"),
            (image(layers=[LAYER | {"data": "!"}]), "at layers[0].data: invalid base64"),
            (image(layers=[{"digest": LAYER["digest"], "size": 5}]), "at layers[0]: object missing required field `mediaType`"),
            (image(subject=LAYER | {"digest": "sha256:"}), "at subject.digest: the digest 'sha256:' is not valid"),
            (image(annotations={"a": 1}), "at annotations[...]: expected `str`, got `int`"),
            (image(annotations={"a": "\0"}), "contains the character U+0000"),
            (image(artifactType="a\0b"), "contains the character U+0000"),
            (image(layers=[LAYER | {"mediaType": "a\0"}]), "contains the character U+0000"),
        ],
    )
    def test_of_an_image_say_where_and_why(self, body: Json, rule: str) -> None:
        assert rule in refusal_of(body)

    @pytest.mark.parametrize(
        ("body", "rule"),
        [
            (index(layers=[]), "is an index and has 'layers'"),
            (index(config=CONFIG), "is an index and has 'config'"),
            (index(manifests=...), "'manifests' is missing"),
            (index(manifests=[described(b"x") | {"digest": ""}]), "at manifests[0].digest: the digest '' is not valid: it has no colon"),
            (index(manifests=[described(b"x", platform=[])]), "at manifests[0].platform: expected"),
        ],
    )
    def test_of_an_index_say_where_and_why(self, body: Json, rule: str) -> None:
        assert rule in refusal_of(body, types.OCI_INDEX)

    @pytest.mark.parametrize(
        ("content", "rule"),
        [
            (b"", "it ends in the middle, at byte 0"),
            (b'{"schemaVersion": 2', "it ends in the middle, at byte 19"),
            (b'{"a": 1,}', "at byte 8"),
            (b"{} {}", "trailing characters at byte"),
            (b"\xef\xbb\xbf{}", "at byte 0"),
            (b'{"unknown": "\xff"}', "it is not UTF-8 at byte 13"),
            (b"[]", "expected `object`, got `array`"),
            (b"null", "expected `object`, got `null`"),
            (b'{"config": {"size": ' + b"9" * 5000 + b"}}", "at config.size: integer value out of range"),
        ],
    )
    def test_of_what_is_no_json_object_say_where(self, content: bytes, rule: str) -> None:
        assert rule in refusal_of(content)

    @pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"config":{"platform":', b'{"config":null,"subject":{"platform":{"a":'])
    def test_of_deep_nesting_are_ordinary(self, opening: bytes) -> None:
        assert "not valid" in refusal_of(opening + b'{"a":' * 100_000)
        assert "nested too deeply" in refusal_of(b'{"config":{"platform":' + b'{"a":' * 100_000 + b"null")

    def test_a_nul_in_an_unknown_field_or_an_escaped_backslash_is_no_harm(self) -> None:
        assert read(image(unknown="\0", annotations={"a": "\\u0000"})).annotations == {"a": "\\u0000"}

    def test_the_limit_of_size_is_exact(self) -> None:
        content = json.dumps(image()).encode()
        assert parse_manifest(content.ljust(MANIFEST_LIMIT), None).config is not None
        with pytest.raises(ManifestTooLarge, match=f"has {MANIFEST_LIMIT + 1} bytes"):
            parse_manifest(content.ljust(MANIFEST_LIMIT + 1), None)


headers = st.none() | st.sampled_from(sorted(types.MANIFEST_TYPES | types.GENERIC_TYPES | types.SCHEMA1_TYPES)) | st.text(st.characters())
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(str(Digest.of(b"")))
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=8
)
FIELDS = ["schemaVersion", "mediaType", "artifactType", "config", "layers", "blobs", "manifests", "subject", "annotations"]
DESCRIPTOR_FIELDS = ["mediaType", "digest", "size", "annotations", "artifactType", "platform", "urls", "data"]
broken_descriptors = st.dictionaries(st.sampled_from(DESCRIPTOR_FIELDS), trees, max_size=2).map(lambda changes: LAYER | changes)
broken_manifests = st.dictionaries(
    st.sampled_from(FIELDS), trees | broken_descriptors | st.lists(broken_descriptors, max_size=2), max_size=3
).flatmap(lambda changes: st.sampled_from([image(**changes), index(**changes), changes]))


@given(st.binary() | broken_manifests.map(lambda body: json.dumps(body).encode()), headers)
def test_any_bytes_are_a_manifest_or_refused(content: bytes, header: str | None) -> None:
    try:
        manifest = parse_manifest(content, header)
    except RoadsteadError as error:
        assert isinstance(error, InvalidManifest)
        assert error.message.endswith(".")
    else:
        assert manifest.media_type in types.MANIFEST_TYPES
        assert set(map(id, manifest.required_blobs())) <= set(map(id, (manifest.config, *manifest.layers)))
        assert all(Digest.parse(blob.digest) == blob.digest for blob in (*manifest.blobs(), *manifest.children))


descriptors = st.builds(
    Descriptor,
    media_type=st.sampled_from(sorted(types.MANIFEST_TYPES)),
    digest=st.builds(Digest.of, st.binary(max_size=8), st.sampled_from(sorted(ALGORITHMS))),
    size=st.integers(0, 2**63 - 1),
    annotations=st.dictionaries(st.text(st.characters(exclude_characters="\0", codec="utf-8")), st.text(), max_size=3),
    artifact_type=st.none() | st.just("application/vnd.example.v1"),
    platform=st.none() | st.just({"os": "linux", "architecture": "amd64"}),
    urls=st.lists(st.just("https://store.example.com/x"), max_size=2).map(tuple),
    data=st.none() | st.binary(max_size=8),
)


@given(st.lists(descriptors, max_size=4))
def test_an_index_reads_back_as_it_was_rendered(children: list[Descriptor]) -> None:
    manifest = parse_manifest(index_of(children), types.OCI_INDEX)
    assert manifest.children == tuple(children)
    assert manifest.annotations == {}


def test_an_empty_referrers_index_is_exact() -> None:
    assert json.loads(index_of([])) == {"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": []}


def test_a_rendered_index_carries_what_the_referrers_list_must() -> None:
    child = Descriptor(types.OCI_MANIFEST, Digest.of(b"{}"), 2, annotations={"k": "v"}, artifact_type="a/b")
    plain = Descriptor(types.OCI_INDEX, Digest.of(b"{1}"), 3)
    rendered = json.loads(index_of([child, plain], annotations={"a": "b"}))
    assert rendered["annotations"] == {"a": "b"}
    assert rendered["manifests"] == [
        described(b"{}", types.OCI_MANIFEST, annotations={"k": "v"}, artifactType="a/b"),
        described(b"{1}", types.OCI_INDEX),
    ]
