"""Signatures of images as cosign and notation push them, by keys of the test; each can be made wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from roadstead.access.public_keys import parse
from roadstead.oci import media_type
from roadstead.registry.claims import BUNDLE, COSE, JWS, NOTARY, SIMPLE_SIGNING
from tests.support.factories import Blob, Image
from tests.support.pem import public_pem

IN_TOTO = "application/vnd.in-toto+json"
SIGNED = "https://sigstore.dev/cosign/sign/v1"


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def made(private: Any, message: bytes) -> bytes:
    """As cosign signs: ECDSA and RSA of PKCS #1 version 1.5 with SHA-256, Ed25519."""
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.sign(message, ec.ECDSA(hashes.SHA256()))
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(message, padding.PKCS1v15(), hashes.SHA256())
    signature: bytes = private.sign(message)
    return signature


def _manifest(config: tuple[str, Blob], layer: tuple[str, Blob], of_layer: Mapping[str, str] | None = None, **more: Any) -> Image:
    body = {
        "schemaVersion": 2,
        "mediaType": media_type.OCI_MANIFEST,
        "config": config[1].descriptor(config[0]),
        "layers": [layer[1].descriptor(layer[0]) | ({"annotations": dict(of_layer)} if of_layer else {})],
        **more,
    }
    return Image(_json(body), media_type.OCI_MANIFEST, (config[1], layer[1]))


def cosign_tag(image: Image) -> str:
    """Where cosign's old signatures of an image lie."""
    return f"{image.digest.replace(':', '-')}.sig"


def cosign_old(image: Image, private: Any, *, of: Image | None = None, signature: str | None = None) -> Image:
    """What lies under `cosign_tag`; it signs `of` instead, if that is given."""
    critical = {
        "identity": {"docker-reference": "registry.example.org/lab/app"},
        "image": {"docker-manifest-digest": str((of or image).digest)},
        "type": "cosign container image signature",
    }
    payload = _json({"critical": critical, "optional": None})
    proof = _base64(made(private, payload)) if signature is None else signature
    # Its config has the type of an image's, so that it looks like one.
    config = Blob(_json({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}))
    return _manifest((media_type.OCI_CONFIG, config), (SIMPLE_SIGNING, Blob(payload)), {"dev.cosignproject.cosign/signature": proof})


def cosign_bundle(
    image: Image,
    private: Any,
    *,
    of: Image | None = None,
    predicate: str = SIGNED,
    hinted: Any = None,
    content: bytes | None = None,
    annotated: bool = True,
) -> Image:
    """A referrer; `hinted` is whose key it claims to be by, `content` what it holds instead. It may not be `annotated` with that."""
    subject = [{"digest": {"sha256": (of or image).digest.encoded}, "annotations": {}}]
    statement = _json({"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": predicate, "predicate": {}})
    message = f"DSSEv1 {len(IN_TOTO)} {IN_TOTO} {len(statement)} ".encode() + statement
    hint = _base64(bytes.fromhex(parse(public_pem(hinted or private)).fingerprint))
    bundle = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": hint}},
        "dsseEnvelope": {"payload": _base64(statement), "payloadType": IN_TOTO, "signatures": [{"sig": _base64(made(private, message))}]},
    }
    layer = Blob(_json(bundle) if content is None else content)
    said = {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": predicate}
    more: dict[str, Any] = {"subject": image.descriptor(), "artifactType": BUNDLE, "annotations": said if annotated else {}}
    return _manifest((media_type.OCI_EMPTY, Blob(b"{}")), (BUNDLE, layer), **more)


def notation(
    image: Image,
    private: Any,
    certificate: x509.Certificate,
    *,
    of: Image | None = None,
    protected: Mapping[str, Any] | None = None,
    cose: bool = False,
) -> Image:
    """A referrer with a JWS, as `notation sign` makes it; `protected` are further headers."""
    algorithm = "PS256" if isinstance(private, rsa.RSAPrivateKey) else "ES256"
    headers = {
        "alg": algorithm,
        "crit": ["io.cncf.notary.signingScheme"],
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "io.cncf.notary.signingScheme": "notary.x509",
        "io.cncf.notary.signingTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **(protected or {}),
    }
    first, second = _base64url(_json(headers)), _base64url(_json({"targetArtifact": (of or image).descriptor()}))
    message = f"{first}.{second}".encode()
    x5c = [_base64(certificate.public_bytes(Encoding.DER))]
    jws = {"payload": second, "protected": first, "header": {"x5c": x5c}, "signature": _base64url(_jose(private, message))}
    layer = (COSE, Blob(b"\xd2\x84")) if cose else (JWS, Blob(_json(jws)))
    return _manifest((NOTARY, Blob(b"{}")), layer, subject=image.descriptor())


def _jose(private: Any, message: bytes) -> bytes:
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH), hashes.SHA256())
    r, s = decode_dss_signature(private.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)
