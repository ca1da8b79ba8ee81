"""Logins where docker keeps them: `config.json` in `DOCKER_CONFIG` or `~/.docker`, or with a credential helper that it names."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from roadstead.errors import Misconfigured

T = TypeVar("T")

_TOKEN = "<token>"  # noqa: S105 - the name under which docker keeps an identity token with a helper
_NOT_FOUND = "credentials not found"  # What helpers answer, on standard output, for a host that they do not know.


class Login(msgspec.Struct, frozen=True):
    """A name and its secret; or, of a `docker login`, the identity token that the registry gave for them: a refresh token (RFC 6749)."""

    name: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return f"Login({self.name!r})"  # A secret gets into no log.


class _Kept(msgspec.Struct, frozen=True):
    """What a helper answers."""

    name: str = msgspec.field(name="Username")
    secret: str = msgspec.field(name="Secret")


class _Entry(msgspec.Struct, frozen=True):
    """What `auths` holds of a host."""

    auth: str | None = None
    token: str | None = msgspec.field(name="identitytoken", default=None)


class Logins:
    """The logins of one user. Each call reads the file anew; a change replaces it as a whole, readable by its owner only."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")) / "config.json"

    def find(self, host: str) -> Login | None:
        """The login kept for the host. Raises Misconfigured if the file or the helper is out of order."""
        settings = self._read()
        if helper := _helper(settings, host):
            said = _ask(helper, "get", host)
            if said is None:
                return None
            found = self._understood(f"docker-credential-{helper}", lambda: msgspec.json.decode(said, type=_Kept))
            return Login("", "", found.secret) if found.name == _TOKEN else Login(found.name, found.secret)
        entry = _table(settings, "auths").get(host)
        kept = self._understood(self._path, lambda: msgspec.convert(entry or {}, _Entry))
        name, _, secret = self._understood(self._path, lambda: base64.b64decode(kept.auth or "").decode()).partition(":")
        return Login(name, secret.strip("\0"), kept.token or "") if kept.auth or kept.token else None

    def _understood(self, source: object, read: Callable[[], T]) -> T:
        try:
            return read()
        except (msgspec.DecodeError, ValueError) as error:
            raise Misconfigured(f"The login that {source} keeps cannot be understood.") from error

    def keep(self, host: str, login: Login) -> str:
        """Keep the login, and say where. Raises Misconfigured."""
        settings = self._read()
        entry: dict[str, str] = {}
        helper = _helper(settings, host)
        if helper:
            said = msgspec.json.encode({"ServerURL": host, "Username": login.name, "Secret": login.secret})
            _ask(helper, "store", said.decode())
        else:
            entry = {"auth": base64.b64encode(f"{login.name}:{login.secret}".encode()).decode()}
        settings["auths"] = {**_table(settings, "auths"), host: entry}
        self._write(settings)
        return f"docker-credential-{helper}" if helper else str(self._path)

    def forget(self, host: str) -> bool:
        """Forget the login; False if there was none. Raises Misconfigured."""
        settings = self._read()
        auths = _table(settings, "auths")
        known = auths.pop(host, None) is not None
        if helper := _helper(settings, host):
            known = _ask(helper, "erase", host) is not None or known
        if known:
            self._write(settings)
        return known

    def _read(self) -> dict[str, Any]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Any])
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
            raise Misconfigured(f"{self._path} cannot be read: {error}.") from error

    def _write(self, settings: dict[str, Any]) -> None:
        place = self._path.resolve()  # Where a link leads, as people keep such files elsewhere.
        partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(settings), indent=1))
            partial.replace(place)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise Misconfigured(f"{self._path} cannot be written: {error.strerror}.") from error


def _helper(settings: dict[str, Any], host: str) -> str | None:
    """The helper for this host, else for all; its program is called `docker-credential-…`."""
    named = _table(settings, "credHelpers").get(host) or settings.get("credsStore")
    return str(named) if named else None


def _table(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of the settings; nothing where it is `null`, as some programs write it."""
    found = settings.get(name)
    return found if isinstance(found, dict) else {}


def _ask(helper: str, verb: str, said: str) -> str | None:
    """What the helper answers; None if it knows nothing of the host."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, verb], input=said, capture_output=True, text=True, check=False)  # noqa: S603 - the user named it
    except OSError as error:
        raise Misconfigured(f"The credential helper {program} cannot be started: {error.strerror}.") from error
    if done.returncode == 0:
        return done.stdout
    if _NOT_FOUND in done.stdout:
        return None
    raise Misconfigured(f"The credential helper {program} failed: {(done.stdout or done.stderr).strip()[:200]}.")
