"""Logins where docker keeps them: `config.json` in `DOCKER_CONFIG` or `~/.docker`, or with a credential helper that it names."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from roadstead.errors import Misconfigured

_NOT_FOUND = "credentials not found"  # What helpers answer, on standard output, for a host that they do not know.


class Login(msgspec.Struct, frozen=True):
    """A name and its secret."""

    name: str
    secret: str

    def __repr__(self) -> str:
        return f"Login({self.name!r})"  # A secret gets into no log.


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
            found = msgspec.json.decode(said, type=dict[str, str])
            return Login(found["Username"], found["Secret"])
        coded = settings.get("auths", {}).get(host, {}).get("auth")
        if not coded:
            return None
        name, _, secret = base64.b64decode(coded).decode().partition(":")
        return Login(name, secret)

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
        settings.setdefault("auths", {})[host] = entry
        self._write(settings)
        return f"docker-credential-{helper}" if helper else str(self._path)

    def forget(self, host: str) -> bool:
        """Forget the login; False if there was none. Raises Misconfigured."""
        settings = self._read()
        known = settings.get("auths", {}).pop(host, None) is not None
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
        except (OSError, msgspec.DecodeError) as error:
            raise Misconfigured(f"{self._path} cannot be read: {error}.") from error

    def _write(self, settings: dict[str, Any]) -> None:
        partial = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(settings), indent=1))
            partial.replace(self._path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise Misconfigured(f"{self._path} cannot be written: {error.strerror}.") from error


def _helper(settings: dict[str, Any], host: str) -> str | None:
    """The helper for this host, else for all; its program is called `docker-credential-…`."""
    return settings.get("credHelpers", {}).get(host) or settings.get("credsStore") or None


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
