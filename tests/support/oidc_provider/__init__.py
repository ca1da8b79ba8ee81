"""A real OpenID provider for the tests: npm's oidc-provider, started for the session on a free loopback port, over TLS.

A test takes the fixture `oidc_provider`. What npm installs, exactly as package-lock.json says, is kept in .cache. tests/conftest.py
names this module in `pytest_plugins`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx2
import pytest
from joserfc.jwk import ECKey

from roadstead.access.source_settings import OidcSettings
from tests.support.certificates import site_authority, site_files
from tests.support.server import free_port

HERE: Final = Path(__file__).parent
CACHE: Final = HERE.parents[2] / ".cache" / "oidc-provider"
FILES: Final = ("package.json", "package-lock.json", ".npmrc")
CLIENT: Final = "registry"
REDIRECT: Final = "https://registry.example.org/c/oidc/callback"
_MOST_STEPS: Final = 12


class ProviderMissing(Exception):
    """There is no Node.js here, or npm could not install the provider."""


class OidcProvider:
    """A provider that runs as `issuer`; `ca` is its private authority, in PEM, and `key` signs its id tokens."""

    def __init__(self, issuer: str, ca: str, secret: str, key: ECKey) -> None:
        self.issuer = issuer
        self.ca = ca
        self.secret = secret
        self.key = key

    def settings(self, **changes: Any) -> OidcSettings:
        """How a source is set up for this provider."""
        return OidcSettings(**{"issuer": self.issuer, "client_id": CLIENT, "ca": self.ca, "timeout_seconds": 20.0, **changes})

    def set_accounts(self, accounts: Mapping[str, Mapping[str, Any]]) -> None:
        """Who is there, anew: claims by subject."""
        with self._client() as client:
            client.post(f"{self.issuer}/tests/accounts", json=accounts).raise_for_status()

    def log_in(self, url: str, subject: str, redirect: str = REDIRECT) -> dict[str, str]:
        """Play the browser of that subject from `url` on: the parameters with which it is sent back. The subject "nobody" says no."""
        parts = urlsplit(url)
        url = parts._replace(query=urlencode([*parse_qsl(parts.query), ("login_hint", subject)])).geturl()
        with self._client() as client:
            for _step in range(_MOST_STEPS):
                answer = client.get(url)
                url = urljoin(url, answer.headers.get("location", ""))
                if url.startswith(redirect):
                    return dict(parse_qsl(urlsplit(url).query))
                if answer.status_code not in (302, 303):
                    raise AssertionError(f"{answer.status_code} {answer.text}")
        raise AssertionError("the provider did not send the browser back")

    def _client(self) -> httpx2.Client:
        return httpx2.Client(verify=ssl.create_default_context(cadata=self.ca), timeout=20, trust_env=False)


def _installed() -> Path:
    """The directory with the provider's modules; npm is asked once for each lock file. Raises ProviderMissing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise ProviderMissing("Node.js is not installed: apt-get install nodejs npm")
    fingerprint = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()[:16]
    home = CACHE / fingerprint
    if home.is_dir():
        return home
    CACHE.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=CACHE))
    try:
        for name in FILES:
            shutil.copy(HERE / name, draft / name)
        done = subprocess.run(["npm", "ci", "--ignore-scripts"], check=False, cwd=draft, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise ProviderMissing(f"npm could not install oidc-provider: {done.stderr.strip()[-500:]}")
        # Another test run may have been quicker; then its copy is as good.
        try:
            draft.rename(home)
        except OSError:
            if not home.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return home


def start_provider() -> Iterator[OidcProvider]:
    """Start a provider of its own, give it out once, and stop it whatever happens. Raises ProviderMissing."""
    modules = _installed()
    home = Path(tempfile.mkdtemp(prefix="roadstead-oidc-"))
    try:
        authority = site_authority(home)
        files = site_files(home, authority)
        port = free_port()
        key = ECKey.generate_key("P-256", {"kid": "tests", "use": "sig", "alg": "ES256"})
        provider = OidcProvider(f"https://127.0.0.1:{port}", authority.pem.decode(), secrets.token_hex(24), key)
        clients = [
            {
                "client_id": CLIENT,
                "client_secret": provider.secret,
                "redirect_uris": [REDIRECT],
                "id_token_signed_response_alg": "ES256",
            }
        ]
        configuration = {
            "issuer": provider.issuer,
            "port": port,
            "tls": {"cert": files.certificate.read_text(), "key": files.key.read_text()},
            "clients": clients,
            "jwks": {"keys": [key.as_dict(private=True)]},
        }
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", "node", str(HERE / "server.mjs"), str(modules)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(configuration).encode() + b"\n")
            process.stdin.flush()
            if not any(line == b"ready\n" for line in process.stdout):
                raise RuntimeError(f"oidc-provider did not start: {(home / 'log').read_text(errors='replace')}")
            yield provider
        finally:
            process.kill()
            process.communicate()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def oidc_provider() -> Iterator[OidcProvider]:
    """A provider for the whole session. Skips by name where there is none; with ROADSTEAD_REQUIRE_OIDC=1 that is a failure."""
    try:
        yield from start_provider()
    except ProviderMissing as missing:
        if os.environ.get("ROADSTEAD_REQUIRE_OIDC") == "1":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
