"""What every handler of this door is given."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from roadstead.access.actor import Actor
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.registry import Registry
from roadstead.serving.request import Request
from roadstead.serving.response import Headers


class Call(msgspec.Struct):
    """One request: who asks, of which repository (`typed` is its name as the client writes it), and the path's last component."""

    registry: Registry
    request: Request
    actor: Actor
    typed: str
    name: RepositoryName
    value: str

    def location(self, kind: str, value: str) -> Headers:
        """A Location header below this repository; relative, so that it holds behind any proxy."""
        return [(b"location", f"/v2/{self.typed}/{kind}/{quote(value, safe=':')}".encode())]


def digest_header(digest: Digest) -> tuple[bytes, bytes]:
    """The header that says which content this is."""
    return b"docker-content-digest", digest.encode()
