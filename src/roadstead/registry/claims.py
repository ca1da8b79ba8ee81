"""What cosign and notation write when they sign an image, read with bounds: which digest is said to be signed, and what proves it.

    cosign     a layer of simple signing, whose annotation has the signature of its bytes (sigstore/cosign, specs/SIGNATURE_SPEC.md)
    cosign     since version 3, a bundle: a DSSE envelope with a statement of in-toto (sigstore/protobuf-specs)
    notation   a JWS of the form of RFC 7515 §7.2.2 (notaryproject/specifications, signature-envelope-jws.md)

Whoever may push writes these, so that nothing here is believed: `registry.image_signatures` asks the keys. Attestations come in the same
bundles; they state something else, such as what a scanner has found, and are no signatures of the image.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec

from roadstead.access import dsse
from roadstead.access.verdicts import State
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.manifest import Manifest

LONGEST: Final = 64 * 1024
"""Bytes of a signature that are read; an ordinary one has 300 to 5,000."""

COSIGN: Final = "cosign"
NOTATION: Final = "notation"
SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
JWS: Final = "application/jose+json"
COSE: Final = "application/cose"
NOTARY: Final = "application/vnd.cncf.notary.signature"

COSIGN_REFERRER: Final = "application/vnd.dev.cosign.artifact.sig.v1+json"
"""Of the old form, pushed as a referrer (`--registry-referrers-mode oci-1-1`)."""

SPEAKING: Final = (BUNDLE, NOTARY, COSIGN_REFERRER)
"""The artifact types of manifests that may be signatures of their subject; an image has many other referrers."""

PREDICATE: Final = ("dev.sigstore.bundle.predicateType", "https://sigstore.dev/cosign/sign/v1")
"""What cosign annotates the manifest of a bundle with if that is a signature; with other words, it is an attestation."""

_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_SIMPLE: Final = "cosign container image signature"
_IN_TOTO: Final = "application/vnd.in-toto+json"
_NOTARY_PAYLOAD: Final = "application/vnd.cncf.notary.payload.v1+json"
_HASHES: Final = ("sha256", "sha384", "sha512")
_KNOWN_CRITICAL: Final = frozenset(
    {"io.cncf.notary.signingScheme", "io.cncf.notary.expiry", "io.cncf.notary.authenticSigningTime", "io.cncf.notary.signingTime"}
)


class Claim(msgspec.Struct, frozen=True):
    """One signature as it was written. `digests` are those that it says it signs, `message` is what the key must have signed.

    `algorithms` are those that may have been used, as `PublicKey.made` names them. `named` is the fingerprint of the key or of the
    certificate that it claims, if it claims any (upper case). `refused` is what is wrong with it before any key is asked, with a reason.
    """

    kind: str
    digests: tuple[str, ...] = ()
    message: bytes = b""
    signature: bytes = b""
    algorithms: tuple[str, ...] = ()
    named: str | None = None
    signed_at: datetime | None = None
    expires_at: datetime | None = None
    refused: tuple[State, str] | None = None


_Reader = Callable[[Descriptor, bytes], Claim | None]


def readers(manifest: Manifest) -> Iterator[tuple[Descriptor, Callable[[bytes | None], Claim | None]]]:
    """The layers of a manifest that are signatures, each with what reads its bytes (None: they are not here, or too many).

    What that answers is None for what is no signature of an image.
    """
    kind, known = (NOTATION, _OF_NOTATION) if manifest.artifact_type == NOTARY else (COSIGN, _OF_COSIGN)
    for layer in manifest.layers:
        read = known.get(layer.media_type)
        if read is not None:
            yield layer, _bounded(kind, layer, read)


def _bounded(kind: str, layer: Descriptor, read: _Reader) -> Callable[[bytes | None], Claim | None]:
    def bounded(content: bytes | None) -> Claim | None:
        if content is None:
            return Claim(kind, refused=(State.ALTERED, "Its bytes are not here, or they are too many."))
        try:
            return read(layer, content)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return Claim(kind, refused=(State.ALTERED, "It is damaged: it cannot be read."))

    return bounded


# --- cosign ---------------------------------------------------------------------------------------------------------------------


class _Image(msgspec.Struct, frozen=True):
    digest: str = msgspec.field(name="docker-manifest-digest")


class _Critical(msgspec.Struct, frozen=True):
    image: _Image
    type: str


class _Simple(msgspec.Struct, frozen=True):
    critical: _Critical


def _simple(layer: Descriptor, content: bytes) -> Claim | None:
    said = msgspec.json.decode(content, type=_Simple).critical
    if said.type != _SIMPLE:
        return None
    signature = _base64(layer.annotations.get(_SIGNATURE, ""))
    if not signature:
        raise ValueError
    return Claim(COSIGN, (said.image.digest,), content, signature, _HASHES)


class _PublicKeyHint(msgspec.Struct, frozen=True):
    hint: str = ""


class _Material(msgspec.Struct, frozen=True, rename="camel"):
    public_key: _PublicKeyHint = _PublicKeyHint()


class _Bundle(msgspec.Struct, frozen=True, rename="camel"):
    verification_material: _Material
    dsse_envelope: msgspec.Raw


class _Subject(msgspec.Struct, frozen=True):
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, rename="camel"):
    predicate_type: str
    subject: tuple[_Subject, ...] = ()


def _bundle(_layer: Descriptor, content: bytes) -> Claim | None:
    bundle = msgspec.json.decode(content, type=_Bundle)
    envelope = dsse.parse(bytes(bundle.dsse_envelope), _IN_TOTO)
    statement = msgspec.json.decode(envelope.payload, type=_Statement)
    if statement.predicate_type != PREDICATE[1]:
        return None
    digests = tuple(f"{algorithm}:{digest}" for subject in statement.subject for algorithm, digest in subject.digest.items())
    # cosign writes one signature in a bundle, and takes no other.
    ((_, signature),) = envelope.signatures
    named = _base64(bundle.verification_material.public_key.hint).hex().upper() or None
    return Claim(COSIGN, digests, envelope.signed, signature, _HASHES, named)


# --- notation -------------------------------------------------------------------------------------------------------------------


class _Unprotected(msgspec.Struct, frozen=True):
    x5c: tuple[str, ...] = ()


class _Jws(msgspec.Struct, frozen=True):
    payload: str
    protected: str
    signature: str
    header: _Unprotected = _Unprotected()


class _Protected(msgspec.Struct, frozen=True):
    alg: str
    cty: str
    crit: tuple[str, ...] = ()
    signing_time: datetime | None = msgspec.field(default=None, name="io.cncf.notary.signingTime")
    authentic_time: datetime | None = msgspec.field(default=None, name="io.cncf.notary.authenticSigningTime")
    expiry: datetime | None = msgspec.field(default=None, name="io.cncf.notary.expiry")


class _Target(msgspec.Struct, frozen=True):
    digest: str


class _Payload(msgspec.Struct, frozen=True, rename="camel"):
    target_artifact: _Target


def _jws(_layer: Descriptor, content: bytes) -> Claim | None:
    jws = msgspec.json.decode(content, type=_Jws)
    protected = msgspec.json.decode(_base64url(jws.protected), type=_Protected)
    if protected.cty != _NOTARY_PAYLOAD:
        raise ValueError
    if not _KNOWN_CRITICAL.issuperset(protected.crit):
        return Claim(NOTATION, refused=(State.UNSUPPORTED, "It asks for more than is verified here."))
    target = msgspec.json.decode(_base64url(jws.payload), type=_Payload).target_artifact
    leaf = _base64(jws.header.x5c[0]) if jws.header.x5c else b""
    return Claim(
        kind=NOTATION,
        digests=(target.digest,),
        message=f"{jws.protected}.{jws.payload}".encode("ascii"),
        signature=_base64url(jws.signature),
        algorithms=(protected.alg,),
        named=hashlib.sha256(leaf).hexdigest().upper() if leaf else None,
        signed_at=_aware(protected.authentic_time or protected.signing_time),
        expires_at=_aware(protected.expiry),
    )


def _cose(_layer: Descriptor, _content: bytes) -> Claim | None:
    return Claim(NOTATION, refused=(State.UNSUPPORTED, "Signatures in COSE are not verified here: sign with --signature-format jws."))


_OF_COSIGN: Final[Mapping[str, _Reader]] = {SIMPLE_SIGNING: _simple, BUNDLE: _bundle}
_OF_NOTATION: Final[Mapping[str, _Reader]] = {JWS: _jws, COSE: _cose}


def _aware(moment: datetime | None) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise ValueError
    return moment


def _base64(text: str) -> bytes:
    """Raises ValueError for what is none."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError from error


def _base64url(text: str) -> bytes:
    """Without padding, as JOSE has it (RFC 7515 §2). Raises ValueError."""
    if not text.isascii() or set(text) & set("+/="):
        raise ValueError
    return _base64(text.translate(_URL) + "=" * (-len(text) % 4))


_URL: Final = str.maketrans("-_", "+/")
