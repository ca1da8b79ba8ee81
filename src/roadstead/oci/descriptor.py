"""Descriptors: one piece of content as another names it (image-spec, descriptor.md)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from roadstead.errors import InvalidDigest
from roadstead.oci.digest import Digest

SIZE_LIMIT = 2**63 - 1
"""The largest size (bytes) that a descriptor can state: image-spec has sizes of type int64."""


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a manifest says of content: its type, digest and `size` in bytes, and optional properties.

    Unknown properties are dropped: whoever needs them reads the manifest's own bytes. `platform` is the JSON object as it came;
    `data` is the content itself where it is embedded, already base64-decoded, and not verified against the digest.
    Not hashable, because of its dictionaries; use `digest` as a key.
    """

    media_type: str
    digest: Digest
    size: Annotated[int, msgspec.Meta(ge=0, le=SIZE_LIMIT)]
    annotations: dict[str, str] = {}
    artifact_type: str | None = None
    platform: dict[str, Any] | None = None
    urls: tuple[str, ...] = ()
    data: bytes | None = None


def decode_digest(kind: type, value: object) -> object:
    """The `dec_hook` of every msgspec decoder that meets a Digest. Raises ValueError, to which msgspec adds the field's path."""
    if kind is Digest and isinstance(value, str):
        try:
            return Digest.parse(value)
        except InvalidDigest as error:
            raise ValueError(error.message.removesuffix(".")) from error
    raise ValueError(f"expected a digest, got {type(value).__name__}")
