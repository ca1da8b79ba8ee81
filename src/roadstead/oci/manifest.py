"""Manifests: images, artifacts and indexes (image-spec, manifest.md and image-index.md; Docker's image manifest v2 schema 2).

A manifest's bytes are what is stored and hashed; a `Manifest` is what the registry must know of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

import msgspec
from msgspec import UNSET, UnsetType

from roadstead.errors import InvalidManifest, ManifestTooLarge, UnsupportedManifestType
from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor, decode_digest

MANIFEST_LIMIT = 4 * 1024 * 1024
"""The largest manifest in bytes: what distribution-spec, "Pushing Manifests", asks registries to expect at least."""

_FIELD = re.compile(r" - at `\$\.?(?P<path>.*)`$")
_POSITION = re.compile(r"^JSON is malformed: (?P<reason>.*) \(byte (?P<position>\d+)\)$")

Descriptors = tuple[Descriptor, ...]


class Manifest(msgspec.Struct, frozen=True):
    """What a manifest says, whatever its dialect.

    `media_type` is the one that it is stored and served with. `artifact_type` is what the referrers list says of it
    (distribution-spec, "Listing Referrers"): its own artifactType, else, for images, its config's type, else None. `layers` are
    an image's layers or an artifact manifest's blobs; `children` are an index's manifests.
    """

    media_type: str
    artifact_type: str | None
    config: Descriptor | None
    layers: Descriptors
    children: Descriptors
    subject: Descriptor | None
    annotations: dict[str, str]

    def blobs(self) -> Descriptors:
        """Config and layers in their order, each digest once."""
        return _distinct(self._named_blobs())

    def required_blobs(self) -> Descriptors:
        """The blobs that must be in the repository for the manifest to be whole: `blobs` without non-distributable layers."""
        return _distinct(blob for blob in self._named_blobs() if blob.media_type not in types.NON_DISTRIBUTABLE)

    def _named_blobs(self) -> Descriptors:
        return (self.config, *self.layers) if self.config else self.layers


class _Wire(msgspec.Struct, frozen=True, rename="camel"):
    """A manifest of any dialect as JSON has it. A list that is null is an empty one: Go's encoder writes it so."""

    schema_version: int | None = None
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor | None = None
    layers: Descriptors | UnsetType | None = UNSET
    blobs: Descriptors | UnsetType | None = UNSET
    manifests: Descriptors | UnsetType | None = UNSET
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class _Index(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An index to be written; what has no default is written always, an empty `manifests` too."""

    schema_version: int
    media_type: str
    manifests: Descriptors
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class _Image(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An image manifest to be written."""

    schema_version: int
    media_type: str
    config: Descriptor
    layers: Descriptors
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


_decoder = msgspec.json.Decoder(_Wire, dec_hook=decode_digest)
_encoder = msgspec.json.Encoder(enc_hook=str)  # msgspec does not take a Digest for the str that it is.


def parse_manifest(content: bytes, content_type: str | None) -> Manifest:
    """Read a manifest pushed with this Content-Type header (None: without one).

    The type is the header's, and a `mediaType` in the body must agree (image-spec, manifest.md, "mediaType"); where the header is
    absent or generic it is the body's. Raises ManifestTooLarge above `MANIFEST_LIMIT` bytes, UnsupportedManifestType for a type
    that cannot be stored, and InvalidManifest for the rest, with the field's path or the position in bytes.
    """
    if len(content) > MANIFEST_LIMIT:
        raise ManifestTooLarge(f"The manifest has {len(content)} bytes; at most {MANIFEST_LIMIT} (4 MiB) are allowed.")
    header = types.normalise_content_type(content_type or "")
    if header not in types.GENERIC_TYPES:
        _require_supported(header)
    wire = _decode(content)
    effective = _effective_type(header, wire)
    _require_shape(effective, wire)
    manifest = _manifest(effective, wire)
    if b"\\u0000" in content:
        _refuse_nul(manifest)
    return manifest


def index_of(
    descriptors: Iterable[Descriptor], *, subject: Descriptor | None = None, annotations: Mapping[str, str] | None = None
) -> bytes:
    """An image index of these manifests as JSON (image-spec, image-index.md), such as a referrers response; their order is kept."""
    return _encoder.encode(_Index(2, types.OCI_INDEX, tuple(descriptors), subject, dict(annotations or {})))


def image_of(
    config: Descriptor, layers: Iterable[Descriptor], *, subject: Descriptor | None = None, annotations: Mapping[str, str] | None = None
) -> bytes:
    """An image manifest as JSON (image-spec, manifest.md). The same values make the same bytes, but for the order of annotations."""
    return _encoder.encode(_Image(2, types.OCI_MANIFEST, config, tuple(layers), subject, dict(annotations or {})))


def _decode(content: bytes) -> _Wire:
    try:
        # msgspec does not look into the text of fields that it skips; what is stored must be JSON all through (RFC 8259 §8.1).
        content.decode()
        return _decoder.decode(content)
    except UnicodeDecodeError as error:
        raise InvalidManifest(f"The manifest is not valid JSON: it is not UTF-8 at byte {error.start}.") from error
    except RecursionError as error:
        raise InvalidManifest("The manifest is not valid: it is nested too deeply.") from error
    except msgspec.ValidationError as error:
        if b"null" in content:
            return _decode_without_nulls(content)
        raise InvalidManifest(_invalid_field(str(error))) from error
    except msgspec.DecodeError as error:
        raise InvalidManifest(f"The manifest is not valid JSON: {_malformed(str(error), len(content))}.") from error


def _decode_without_nulls(content: bytes) -> _Wire:
    """Decode again as Go does, to whom a null inside a descriptor is an absent property; what fails now is invalid."""
    try:
        body = msgspec.json.decode(content)
        plain = {key: _without_nulls(value) for key, value in body.items()} if isinstance(body, dict) else body
        return msgspec.convert(plain, _Wire, dec_hook=decode_digest)
    except RecursionError as error:
        raise InvalidManifest("The manifest is not valid: it is nested too deeply.") from error
    except msgspec.ValidationError as error:
        raise InvalidManifest(_invalid_field(str(error))) from error
    except msgspec.DecodeError as error:
        raise InvalidManifest(f"The manifest is not valid JSON: {_malformed(str(error), len(content))}.") from error


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _malformed(text: str, length: int) -> str:
    """Turn msgspec's words about malformed JSON into ours."""
    if found := _POSITION.match(text):
        return f"{found['reason']} at byte {found['position']}"
    return f"it ends in the middle, at byte {length}" if "truncated" in text else text


def _invalid_field(text: str) -> str:
    """Turn msgspec's ``reason - at `$.path` `` into our sentence."""
    found = _FIELD.search(text)
    reason = text[: found.start()] if found else text
    place = f" at {found['path']}" if found and found["path"] else ""
    return f"The manifest is not valid{place}: {reason[:1].lower()}{reason[1:]}."


def _effective_type(header: str, wire: _Wire) -> str:
    """The media type to store the manifest with; `header` is normalised, and supported unless generic."""
    body = wire.media_type or ""
    if header in types.GENERIC_TYPES:
        if not body:
            _refuse_untyped(wire)
        return _require_supported(body)
    if body and body != header:
        raise InvalidManifest(f"The manifest's mediaType is {body[:120]!r}, but it was pushed with Content-Type {header!r}.")
    return header


def _refuse_untyped(wire: _Wire) -> NoReturn:
    if wire.schema_version == 1:
        _require_supported(types.DOCKER_SCHEMA1)
    raise UnsupportedManifestType("The manifest's type is unknown: neither a Content-Type nor its mediaType names it.")


def _require_supported(media_type: str) -> str:
    if media_type in types.SCHEMA1_TYPES:
        raise UnsupportedManifestType(
            "Docker image manifests of schema 1 are obsolete and not supported: push schema 2 or OCI, as Docker since 1.10 does."
        )
    if media_type not in types.MANIFEST_TYPES:
        raise UnsupportedManifestType(f"The manifest type {media_type[:120]!r} is not one that this registry stores.")
    return media_type


def _require_shape(media_type: str, wire: _Wire) -> None:
    """Refuse a body that does not have the properties of its type.

    One that has those of two types is refused too: clients would disagree about what it is (CVE-2021-41190).
    """
    if media_type != types.OCI_ARTIFACT_MANIFEST and wire.schema_version != 2:
        found = "missing" if wire.schema_version is None else f"{wire.schema_version}"
        raise InvalidManifest(f"The manifest is not valid: schemaVersion must be 2, and is {found}.")
    if media_type in types.INDEX_TYPES:
        _require_index(wire)
    elif wire.manifests is not UNSET:
        raise InvalidManifest(f"The manifest is not valid: it has 'manifests', which belongs to an index, and its type is {media_type}.")
    elif media_type in types.IMAGE_TYPES and wire.config is None:
        raise InvalidManifest("The manifest is not valid: 'config' is missing.")


def _require_index(wire: _Wire) -> None:
    if wire.layers is not UNSET or wire.config is not None:
        alien = "config" if wire.layers is UNSET else "layers"
        raise InvalidManifest(f"The manifest is not valid: it is an index and has '{alien}', which belongs to an image.")
    if wire.manifests is UNSET:
        raise InvalidManifest("The manifest is not valid: it is an index and 'manifests' is missing.")


def _manifest(media_type: str, wire: _Wire) -> Manifest:
    image = media_type in types.IMAGE_TYPES
    layers = wire.blobs if media_type == types.OCI_ARTIFACT_MANIFEST else wire.layers
    return Manifest(
        media_type=media_type,
        artifact_type=wire.artifact_type or (wire.config.media_type if image and wire.config else None) or None,
        config=wire.config if image else None,
        layers=layers or (),
        children=wire.manifests or (),
        subject=wire.subject,
        annotations=wire.annotations or {},
    )


def _refuse_nul(manifest: Manifest) -> None:
    """Refuse U+0000 in text that will be a column: PostgreSQL cannot hold it."""
    named = (*manifest.blobs(), *manifest.children, *((manifest.subject,) if manifest.subject else ()))
    texts = [manifest.artifact_type or "", *(d.media_type for d in named), *(d.artifact_type or "" for d in named)]
    texts += [*manifest.annotations.keys(), *manifest.annotations.values()]
    if any("\0" in text for text in texts):
        raise InvalidManifest("The manifest is not valid: a media type or annotation contains the character U+0000.")


def _distinct(blobs: Iterable[Descriptor]) -> Descriptors:
    """The first descriptor of each digest, in order."""
    first: dict[str, Descriptor] = {}
    for blob in blobs:
        first.setdefault(blob.digest, blob)
    return tuple(first.values())
