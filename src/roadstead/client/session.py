"""Requests to one registry: token authentication, and its answers as errors of the tree."""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import urljoin

import httpx2
import msgspec

from roadstead.client.logins import Login
from roadstead.errors import Denied, NotFound, NotReady, RoadsteadError, TooManyRequests, Unauthenticated, Unavailable
from roadstead.oci import media_type as types
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, parse_manifest
from roadstead.oci.reference import Reference, RepositoryName

ACCEPT: Final = ", ".join(sorted(types.MANIFEST_TYPES))
_PART: Final = re.compile(r'(\w+)="([^"]*)"')
_TIMEOUT: Final = httpx2.Timeout(60, connect=15)
_LOOPBACK: Final = re.compile(r"^(localhost|127\.[0-9.]+|\[::1\])(:\d+)?$")
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "record layer failure")
_NO_NAME: Final = ("Name or service not known", "No address associated", "Temporary failure in name resolution")

Body = Callable[[], Iterator[bytes]]


class Fetched(msgspec.Struct, frozen=True):
    """A manifest as it came: its bytes and their digest, and what they say."""

    content: bytes
    digest: Digest
    manifest: Manifest


class Session:
    """A registry, as one login sees it (None: nobody). Threads may share it. Raises errors of the tree; Unavailable: the network failed."""

    def __init__(self, host: str, login: Login | None, *, plain_http: bool = False, ca: Path | None = None) -> None:
        context = ssl.create_default_context()
        if ca is not None:
            context.load_verify_locations(ca)
        self.host = host
        self.login = login
        self.url = f"{'http' if plain_http else 'https'}://{host}"
        self._http = httpx2.Client(verify=context, timeout=_TIMEOUT, follow_redirects=True)
        self._authorizations: dict[str, str] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    @contextmanager
    def stream(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: Body | None = None, patience: float | None = None
    ) -> Iterator[httpx2.Response]:
        """The answer while it comes. A token is asked for when the registry wants one; `path` may be a whole URL of this registry.

        `patience` is in seconds: how long the registry may think before its next byte.
        """
        url = urljoin(self.url, path)
        realm = path.partition("?")[0].partition("/blobs/")[0].partition("/manifests/")[0] + (
            "" if method in ("GET", "HEAD") else f" {method}"
        )
        try:
            for last in (False, True):
                known = self._authorizations.get(realm)
                sent = {**(headers or {}), **({"Authorization": known} if known else {})}
                with self._http.stream(method, url, headers=sent, content=body() if body else None, timeout=_timeout(patience)) as answer:
                    if answer.status_code == 401 and not last:
                        answer.read()
                        self._authorizations[realm] = self._authorize(answer.headers.get("www-authenticate", ""))
                        continue
                    if answer.status_code >= 400:
                        answer.read()
                        raise _refusal(answer, self)
                    yield answer
                    return
        except (httpx2.HTTPError, ssl.SSLError) as error:
            raise Unavailable(_failure(self.host, str(error) or type(error).__name__)) from error

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        patience: float | None = None,
    ) -> httpx2.Response:
        """The whole answer."""
        body: Body | None = None if content is None else lambda: iter((content,))
        length = {} if content is None else {"Content-Length": str(len(content))}
        with self.stream(method, path, headers={**length, **(headers or {})}, body=body, patience=patience) as answer:
            answer.read()
            return answer

    def check(self) -> None:
        """Return if the login is good. Raises Unauthenticated if not, NotFound where there is no registry."""
        try:
            self.request("GET", "/v2/")
        except NotFound as error:
            raise NotFound(f"{self.host} answers, but is no registry.") from error

    def manifest(self, repository: RepositoryName, reference: Reference, *, patience: float | None = None) -> Fetched:
        """A manifest, checked against its digest. Raises Unavailable if it is not what it must be."""
        path = f"/v2/{repository}/manifests/{reference}"
        try:
            answer = self.request("GET", path, headers={"Accept": ACCEPT}, patience=patience)
        except NotFound as error:
            raise NotFound(self._missing(repository, reference)) from error
        stated = (
            reference
            if isinstance(reference, Digest)
            else Digest.parse(answer.headers.get("docker-content-digest") or Digest.of(answer.content))
        )
        if not stated.matches(answer.content):
            raise Unavailable(f"{self.host} sent a manifest that is not {stated}.")
        return Fetched(answer.content, stated, parse_manifest(answer.content, answer.headers.get("content-type")))

    def remove(self, repository: RepositoryName, reference: Reference) -> None:
        """Remove a tag, or a manifest with all its tags. Raises NotFound."""
        try:
            self.request("DELETE", f"/v2/{repository}/manifests/{reference}")
        except NotFound as error:
            raise NotFound(self._missing(repository, reference)) from error

    def tags(self, repository: RepositoryName) -> list[str]:
        """The tags of a repository, in the registry's order. Raises NotFound."""
        try:
            return [name for page in self.pages(f"/v2/{repository}/tags/list") for name in page.get("tags") or ()]
        except NotFound as error:
            raise NotFound(self._missing(repository, None)) from error

    def managed(self, method: str, path: str) -> bytes:
        """The answer of the management API, which wants the login at once."""
        login = (
            {}
            if self.login is None
            else {"Authorization": f"Basic {b64encode(f'{self.login.name}:{self.login.secret}'.encode()).decode()}"}
        )
        content = b"" if method == "POST" else None
        return self.request(method, path, headers={"Accept": "application/json", **login}, content=content).content

    def _missing(self, repository: RepositoryName, reference: Reference | None) -> str:
        """What to say of something that is not there: what else to type."""
        written = "" if reference is None else f"{'@' if isinstance(reference, Digest) else ':'}{reference}"
        name = f"{self.host}/{repository}"
        said = f"There is no {name}{written}, or you may not see it"
        if self.login is None:
            return f"{said} without a login: roadstead login {self.host}"
        return f"{said}. What there is: roadstead {'ls ' + self.host if reference is None else 'tags ' + name}"

    def put_manifest(self, repository: RepositoryName, reference: Reference, content: bytes, media_type: str) -> None:
        """Push a manifest."""
        self.request("PUT", f"/v2/{repository}/manifests/{reference}", headers={"Content-Type": media_type}, content=content)

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Each page of a list (distribution-spec, "Listing Tags")."""
        following: str | None = path
        while following:
            answer = self.request("GET", following)
            yield answer.json()
            following = answer.links.get("next", {}).get("url")

    def repositories(self) -> list[str]:
        """The names of those that the login may see. Nobody's list is a right answer too, so the login does not wait to be asked for."""
        if self.login:
            asked = self._http.get(f"{self.url}/v2/").headers.get("www-authenticate", "")
            self._authorizations["/v2/_catalog"] = self._authorize(asked, "registry:catalog:*")
        return [name for page in self.pages("/v2/_catalog") for name in page.get("repositories") or ()]

    def _authorize(self, challenge: str, scope: str | None = None) -> str:
        """The header that answers the challenge (RFC 6750; docker's token specification), for a scope that it does not name."""
        basic = httpx2.BasicAuth(self.login.name, self.login.secret) if self.login else None
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic" and self.login:
            return next(basic.sync_auth_flow(httpx2.Request("GET", self.url))).headers["authorization"] if basic else ""
        said = dict(_PART.findall(rest))
        if kind.lower() != "bearer" or "realm" not in said:
            raise Unauthenticated(f"{self.host} wants a login: roadstead login {self.host}")
        asked = {name: said[name] for name in ("service", "scope") if name in said}
        if scope:
            asked["scope"] = scope
        answer = self._http.get(said["realm"], params=asked, auth=basic)
        if answer.status_code >= 400:
            raise _refusal(answer, self)
        held = answer.json()
        return f"Bearer {held.get('token') or held['access_token']}"


def speaks_plain(host: str) -> bool:
    """Whether this machine's own registry speaks without TLS, which needs no word of the user's: nothing leaves the machine."""
    if not _LOOPBACK.match(host):
        return False
    try:
        # Its certificate is no question here; the session checks it.
        httpx2.get(f"https://{host}/v2/", verify=False, timeout=5, trust_env=False)
    except httpx2.ConnectError as error:
        return any(sign in str(error) for sign in _NO_TLS)
    except httpx2.HTTPError:
        return False
    return False


def _timeout(patience: float | None) -> httpx2.Timeout:
    return _TIMEOUT if patience is None else httpx2.Timeout(60, connect=15, read=patience)


def _failure(host: str, said: str) -> str:
    """Why there was no answer, and what helps."""
    if "CERTIFICATE_VERIFY_FAILED" in said:
        reason = said.partition("certificate verify failed:")[2].partition("(_ssl")[0].strip() or "certificate verify failed"
        return f"This machine does not trust the certificate of {host} ({reason}). --ca FILE names the authority that signed it."
    if any(sign in said for sign in _NO_TLS):
        return f"{host} speaks no TLS there. Is the port right? A registry without TLS wants --plain-http."
    if any(sign in said for sign in _NO_NAME):
        return f"{host} cannot be reached: there is no machine of that name."
    if "Connection refused" in said:
        return f"{host} cannot be reached: nothing answers there. Is it running, and the port right?"
    return f"{host} cannot be reached or broke off: {said}."


def _refusal(answer: httpx2.Response, session: Session) -> RoadsteadError:
    """What a status means, in the registry's own words where it has some."""
    try:
        told = msgspec.json.decode(answer.content)["errors"][0]["message"]
    except (msgspec.DecodeError, LookupError, TypeError):
        told = f"{session.host} answered {answer.status_code} for {answer.url.path}."
    if answer.status_code == 404:
        return NotFound(told)
    if answer.status_code == 503 and (pause := answer.headers.get("retry-after", "")).isdigit():
        return NotReady(told, retry_after=int(pause))
    if answer.status_code == 401:
        return Unauthenticated(f"{told} Log in: roadstead login {session.host}")
    if answer.status_code == 403:
        return Denied(told)
    if answer.status_code == 429:
        return TooManyRequests(told)
    return (Unavailable if answer.status_code >= 500 else RoadsteadError)(told)
