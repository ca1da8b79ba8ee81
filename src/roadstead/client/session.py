"""Requests to one registry: token authentication, and its answers as errors of the tree."""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx2
import msgspec

from roadstead.client.logins import Login
from roadstead.errors import (
    Denied,
    InvalidDigest,
    InvalidManifest,
    Misconfigured,
    NotFound,
    NotReady,
    RoadsteadError,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, parse_manifest
from roadstead.oci.reference import Reference, RepositoryName, referrers_tag

ACCEPT: Final = ", ".join(sorted(types.MANIFEST_TYPES))
AS_IT_IS: Final[Mapping[str, str]] = {"Accept-Encoding": "identity"}
"""Asks for the bytes that the digest is of: compressed on the way they would be others."""

T = TypeVar("T")

_PART: Final = re.compile(r'(\w+)="([^"]*)"')
_TIMEOUT: Final = httpx2.Timeout(60, connect=15)
_LOOPBACK: Final = re.compile(r"^(localhost|127\.[0-9.]+|\[::1\])(:\d+)?$")
_OWN: Final = ("localhost", "127.0.0.1", "[::1]")
_PORTS: Final = {"http": 80, "https": 443}
_KINDS: Final = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}  # And all others push: what a token is for.
_REPOSITORY: Final = re.compile(r"(/v2/.+?)/(?:manifests|blobs|tags|referrers)/")
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "record layer failure")
_NO_NAME: Final = ("Name or service not known", "No address associated", "Temporary failure in name resolution")

CATALOG: Final = "registry:catalog:*"
"""The scope of a token for what lists across repositories."""

Body = Callable[[], Iterator[bytes]]


class Fetched(msgspec.Struct, frozen=True):
    """A manifest as it came: its bytes and their digest, and what they say."""

    content: bytes
    digest: Digest
    manifest: Manifest


class _Challenge(msgspec.Struct, frozen=True):
    """What stands in WWW-Authenticate."""

    kind: str
    said: dict[str, str]


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


class Session:
    """A registry, as one login sees it (None: nobody). Threads may share it. Raises errors of the tree; Unavailable: the network failed.

    The login goes to this registry, and to where its own challenges send for tokens; not to where it leads otherwise: other machines that
    hold its blobs, or take its uploads.
    """

    def __init__(self, host: str, login: Login | None, *, plain_http: bool = False, ca: Path | None = None) -> None:
        context = ssl.create_default_context()
        if ca is not None:
            try:
                context.load_verify_locations(ca)
            except (OSError, ssl.SSLError) as error:
                raise Misconfigured(f"{ca} holds no certificates in PEM form: {error}.") from error
        self.host = host
        self.login = login
        self.url = f"{'http' if plain_http else 'https'}://{host}"
        # As Go's programs do: what is on this machine is asked without a proxy, whatever NO_PROXY says.
        direct: dict[str, Any] = {f"all://{name}": None for name in {*_OWN, *([_bare(host)] if _LOOPBACK.match(host) else [])}}
        try:
            self._http = httpx2.Client(verify=context, timeout=_TIMEOUT, follow_redirects=True, mounts=direct)
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise Misconfigured(f"The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names cannot be used: {error}") from error
        self._authorizations: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        patience: float | None = None,
        authorization: str | None = None,
    ) -> Iterator[httpx2.Response]:
        """The answer while it comes. A token is asked for when the registry wants one; `path` may be a whole URL, also of another place.

        `patience` is in seconds: how long the registry may think before its next byte. With `authorization` no token is asked for.
        """
        with _translated(self.host):
            url = self._joined(self.url, path)
            home = _origin(url) == _origin(self.url)
            realm = _realm(method, url)
            for last in (False, True):
                known = authorization or self._authorizations.get(realm)
                sent = {**(headers or {}), **({"Authorization": known} if known and home else {})}
                content = body() if body else None
                follow = body is None  # What is sent on the way cannot be sent again from its middle.
                with self._http.stream(
                    method, url, headers=sent, content=content, timeout=_timeout(patience), follow_redirects=follow
                ) as answer:
                    if answer.is_redirect:
                        raise Unavailable(f"{self.host} leads to {answer.headers.get('location', '')[:200]!r}: is that its name?")
                    if answer.status_code == 401 and _origin(str(answer.url)) != _origin(self.url):
                        raise Unavailable(f"{self.host} leads to {answer.url.host}, which wants a login. It gets none.")
                    if answer.status_code == 401 and not last and authorization is None:
                        answer.read()
                        self._authorizations[realm] = self._authorize(answer.headers.get("www-authenticate", ""))
                        continue
                    if answer.status_code >= 400:
                        answer.read()
                        raise _refusal(answer, self)
                    yield answer
                    return

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        patience: float | None = None,
        authorization: str | None = None,
    ) -> httpx2.Response:
        """The whole answer."""
        body: Body | None = None if content is None else lambda: iter((content,))
        length = {} if content is None else {"Content-Length": str(len(content))}
        sent = {**length, **(headers or {})}
        with self.stream(method, path, headers=sent, body=body, patience=patience, authorization=authorization) as answer:
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
        try:
            named = reference if isinstance(reference, Digest) else Digest.parse(answer.headers.get("docker-content-digest") or "")
        except InvalidDigest:
            named = Digest.of(answer.content)
        if not named.matches(answer.content):
            raise Unavailable(f"{self.host} sent a manifest that is not {named}.")
        try:
            return Fetched(answer.content, named, parse_manifest(answer.content, answer.headers.get("content-type")))
        except InvalidManifest as error:
            raise Unavailable(f"{self.host} sent no manifest for {path}: {error.message}") from error

    def referrers(self, repository: RepositoryName, digest: Digest) -> list[Digest]:
        """What refers to a manifest (distribution-spec, "Listing Referrers"); by a tag where a registry has no such list."""
        try:
            pages = list(self.pages(f"/v2/{repository}/referrers/{digest}"))
        except NotFound:
            try:
                return [child.digest for child in self.manifest(repository, referrers_tag(digest)).manifest.children]
            except NotFound:
                return []
        try:
            return [Digest.parse(str(one["digest"])) for page in pages for one in page.get("manifests") or ()]
        except (InvalidDigest, LookupError, TypeError) as error:
            raise Unavailable(f"{self.host} lists no referrers of {digest}, but something else.") from error

    def beginning(self, repository: RepositoryName, blob: Descriptor, size: int) -> bytes:
        """The first bytes of a blob, at most so many."""
        found = b""
        headers = {"Range": f"bytes=0-{size - 1}", **AS_IT_IS}
        with self.stream("GET", f"/v2/{repository}/blobs/{blob.digest}", headers=headers) as answer:
            for piece in answer.iter_raw():
                found += piece
                if len(found) >= size:
                    break
        return found[:size]

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

    def managed(self, method: str, path: str, scope: str) -> bytes:
        """The answer of the management API, which wants the login at once; an identity token is turned into a token for the scope."""
        authorization = self._authorization(scope) if self.login else None
        content = b"" if method == "POST" else None
        return self.request(
            method, path, headers={"Accept": "application/json"}, content=content, authorization=authorization or ""
        ).content

    def _authorization(self, scope: str) -> str:
        """The header for what does not ask for it by itself."""
        if self.login is None or not self.login.token:
            return self._basic()
        return self._asked_for(scope)

    def _asked_for(self, scope: str) -> str:
        """The header for this scope, which the registry is asked how to get; none where it lets everybody in."""
        with _translated(self.host):
            asked = self._http.get(f"{self.url}/v2/", follow_redirects=False)
        return self._authorize(asked.headers.get("www-authenticate", ""), scope) if asked.status_code == 401 else ""

    def _missing(self, repository: RepositoryName, reference: Reference | None) -> str:
        """What to say of something that is not there: what else to type."""
        written = "" if reference is None else f"{'@' if isinstance(reference, Digest) else ':'}{reference}"
        name = f"{self.host}/{repository}"
        return f"There is no {name}{written}{self.advice(None if reference is None else name)}"

    def advice(self, repository: str | None = None) -> str:
        """How a sentence ends that says what is not there: what else to type."""
        if self.login is None:
            return f", or you may not see it without a login: roadstead login {self.host}"
        return f", or you may not see it. What there is: roadstead {f'tags {repository}' if repository else f'ls {self.host}'}"

    def put_manifest(self, repository: RepositoryName, reference: Reference, content: bytes, media_type: str) -> None:
        """Push a manifest."""
        self.request("PUT", f"/v2/{repository}/manifests/{reference}", headers={"Content-Type": media_type}, content=content)

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Each page of a list (distribution-spec, "Listing Tags")."""
        following: str | None = path
        while following:
            answer = self.request("GET", following)
            yield self._read(answer, dict[str, Any])
            following = answer.links.get("next", {}).get("url")
            if following:
                following = self._joined(str(answer.url), following)

    def repositories(self) -> list[str]:
        """The names of those that the login may see. Nobody's list is a right answer too, so the login does not wait to be asked for."""
        if self.login:
            self._authorizations[_realm("GET", f"{self.url}/v2/_catalog")] = self._asked_for(CATALOG)
        return [str(name) for page in self.pages("/v2/_catalog") for name in page.get("repositories") or ()]

    def _authorize(self, header: str, scope: str | None = None) -> str:
        """The header that answers this registry's challenge (RFC 6750; docker's token specification), for a scope that it does not name."""
        kind, _, rest = header.partition(" ")
        if kind.lower() == "basic" and self.login and not self.login.token:
            return self._basic()
        said = dict(_PART.findall(rest))
        if kind.lower() != "bearer" or "realm" not in said:
            raise Unauthenticated(f"{self.host} wants a login: roadstead login {self.host}")
        realm = self._trusted(said["realm"])
        asked = {name: said[name] for name in ("service", "scope") if name in said}
        if scope:
            asked["scope"] = scope
        with _translated(self.host):
            if self.login and self.login.token:
                form = {"grant_type": "refresh_token", "refresh_token": self.login.token, "client_id": "roadstead", **asked}
                answer = self._http.post(realm, data=form, follow_redirects=False)
            else:
                basic = {"Authorization": self._basic()} if self.login else {}
                answer = self._http.get(realm, params=asked, headers=basic)
        if answer.status_code >= 300:
            raise _refusal(answer, self)
        held = self._read(answer, _Token)
        if not (held.token or held.access_token):
            raise Unavailable(f"{answer.url.host} answered without a token.")
        return f"Bearer {held.token or held.access_token}"

    def _joined(self, base: str, place: str) -> str:
        try:
            joined = urljoin(base, place)
            _origin(joined)
        except ValueError as error:
            raise Unavailable(f"{self.host} leads to {place[:200]!r}, which is no address.") from error
        return joined

    def _basic(self) -> str:
        return f"Basic {b64encode(f'{self.login.name}:{self.login.secret}'.encode()).decode()}" if self.login else ""

    def _trusted(self, realm: str) -> str:
        """The realm, if the login may go there: over TLS anywhere, as some registries have tokens made elsewhere; else to the same machine.

        Raises Unauthenticated if it may not.
        """
        self._joined(self.url, realm)
        where, home = urlsplit(realm), urlsplit(self.url)
        near = where.scheme == "http" == home.scheme and where.hostname == home.hostname
        if where.hostname and (where.scheme == "https" or near):
            return realm
        if not where.hostname:
            raise Unauthenticated(f"{self.host} does not say where it takes a login.")
        raise Unauthenticated(f"{self.host} sends for a token to {realm}, without TLS. The login does not go there.")

    def _read(self, answer: httpx2.Response, kind: type[T]) -> T:
        """The answer's JSON. Raises Unavailable if it is something else."""
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"What {answer.url.host} answers for {answer.url.path} is not what a registry answers.") from error


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _realm(method: str, url: str) -> tuple[str, str]:
    """What one token is good for: a repository, or another path, and what is done there."""
    path = urlsplit(url).path
    found = _REPOSITORY.match(path)
    return found[1] if found else path, _KINDS.get(method, "push")


def _bare(host: str) -> str:
    return host if host.endswith("]") else host.rpartition(":")[0] or host


@contextmanager
def _translated(host: str) -> Iterator[None]:
    """What the library raises, as errors of the tree."""
    try:
        yield
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ssl.SSLError) as error:
        raise Unavailable(_failure(host, str(error) or type(error).__name__)) from error


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
