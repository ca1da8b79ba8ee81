"""A real LDAP directory for the tests: Debian's slapd, started for the session on free loopback ports, with a tree for each test that asks.

A test takes the fixture `slapd` and calls `slapd.fresh_tree()`. tests/conftest.py names this module in `pytest_plugins`.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from roadstead.access.source_settings import LdapSettings
from tests.support.certificates import site_authority, site_files
from tests.support.server import free_port, poll

ROOT: Final = "dc=example,dc=org"
READER: Final = f"cn=reader,{ROOT}"
READER_SECRET: Final = "reads everything"
_MANAGER: Final = f"cn=manager,{ROOT}"
_MANAGER_SECRET: Final = "writes everything"

CONFIGURATION: Final = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {home}/pid
TLSCACertificateFile {home}/ca.crt
TLSCertificateFile {home}/host.crt
TLSCertificateKeyFile {home}/host.key
database mdb
suffix "{root}"
rootdn "{manager}"
rootpw "{manager_secret}"
directory {home}/data
dbnosync
maxsize 67108864
index objectClass,uid,member,entryUUID eq
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
"""


class SlapdMissing(Exception):
    """There is no LDAP server on this machine, or not the library to speak to it."""


class Tree:
    """A tree of its own: people and groups below `base`."""

    def __init__(self, server: Slapd, base: str) -> None:
        self._server = server
        self.base = base

    def person(self, name: str, password: str, **attributes: str) -> str:
        """Add a person; returns the DN."""
        dn = f"uid={name},ou=people,{self.base}"
        all_of_it = {"uid": name, "cn": name.title(), "sn": name.title(), "userPassword": password, **attributes}
        self._server.add(dn, "inetOrgPerson", all_of_it)
        return dn

    def group(self, name: str, *members: str) -> str:
        """Add a group of these DNs; returns its own."""
        dn = f"cn={name},ou=groups,{self.base}"
        self._server.add(dn, "groupOfNames", {"cn": name, "member": list(members) or [READER]})
        return dn

    def put_in(self, group: str, member: str) -> None:
        """Put an entry into a group."""
        self._server.modify(f"dn: {group}\nchangetype: modify\nadd: member\nmember: {member}\n")

    def take_out(self, group: str, member: str) -> None:
        """Take an entry out of a group that holds others too."""
        self._server.modify(f"dn: {group}\nchangetype: modify\ndelete: member\nmember: {member}\n")

    def set_password(self, dn: str, password: str) -> None:
        """Set a person's password."""
        self._server.modify(f"dn: {dn}\nchangetype: modify\nreplace: userPassword\nuserPassword: {password}\n")

    def rename(self, dn: str, name: str) -> None:
        """Give a person another uid; the entry stays the same one."""
        self._server.modify(f"dn: {dn}\nchangetype: modrdn\nnewrdn: uid={name}\ndeleteoldrdn: 1\n")

    def remove(self, dn: str) -> None:
        """Remove an entry."""
        self._server.modify(f"dn: {dn}\nchangetype: delete\n")

    def settings(self, **changes: Any) -> LdapSettings:
        """How a source is set up for this tree: StartTLS, and the server's private authority."""
        usual: dict[str, Any] = {
            "url": self._server.url,
            "start_tls": True,
            "ca": self._server.ca,
            "base_dn": f"ou=people,{self.base}",
            "bind_dn": READER,
            "group_base_dn": f"ou=groups,{self.base}",
            "timeout_seconds": 5.0,
        }
        return LdapSettings(**{**usual, **changes})


class Slapd:
    """A server that runs: `url` for StartTLS, `secure_url` for TLS from the beginning; `ca` is its private authority, in PEM."""

    def __init__(self, home: Path, port: int, secure_port: int) -> None:
        self.url = f"ldap://127.0.0.1:{port}"
        self.secure_url = f"ldaps://127.0.0.1:{secure_port}"
        self.ca = (home / "ca.crt").read_text()

    def fresh_tree(self) -> Tree:
        """Make an empty tree that nobody else uses."""
        base = f"ou=t{secrets.token_hex(6)},{ROOT}"
        for dn in (base, f"ou=people,{base}", f"ou=groups,{base}"):
            self.add(dn, "organizationalUnit", {})
        return Tree(self, base)

    def add(self, dn: str, kind: str, attributes: dict[str, Any]) -> None:
        """Add an entry."""
        lines = [f"dn: {dn}", "changetype: add", f"objectClass: {kind}"]
        for name, value in attributes.items():
            lines += [f"{name}: {one}" for one in (value if isinstance(value, list) else [value])]
        self.modify("\n".join([*lines, ""]))

    def modify(self, ldif: str) -> None:
        """Change the directory behind the back of the program under test. Raises CalledProcessError."""
        command = ["ldapmodify", "-x", "-H", self.url, "-D", _MANAGER, "-w", _MANAGER_SECRET]
        subprocess.run(command, check=True, input=ldif, text=True, capture_output=True, timeout=30)

    def answers(self) -> bool:
        """Whether it takes connections."""
        command = ["ldapsearch", "-x", "-H", self.url, "-b", "", "-s", "base", "-o", "nettimeout=1"]
        return subprocess.run(command, check=False, capture_output=True, timeout=30).returncode in (0, 32, 50)


def _find() -> str:
    program = shutil.which("slapd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None or shutil.which("ldapmodify") is None:
        raise SlapdMissing("slapd is not installed: apt-get install slapd ldap-utils")
    if importlib.util.find_spec("bonsai") is None:
        raise SlapdMissing("bonsai is not installed: make ldap")
    return program


def start_slapd() -> Generator[Slapd, None, None]:
    """Start a server of its own in a temporary directory, give it out once, and stop it whatever happens. Raises SlapdMissing."""
    program = _find()
    home = Path(tempfile.mkdtemp(prefix="roadstead-slapd-"))
    try:
        _prepare(home)
        # Where the system confines its slapd by path to its own directories, this one is another program.
        own = shutil.copy(program, home / "slapd")
        port, secure_port = free_port(), free_port()
        server = Slapd(home, port, secure_port)
        command = [own, "-h", f"{server.url} {server.secure_url}", "-f", str(home / "slapd.conf"), "-d", "0"]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command], cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            ready = poll(lambda: process.poll() is not None or server.answers())
            if not ready or process.poll() is not None:
                raise RuntimeError(f"slapd did not start: {(home / 'log').read_text(errors='replace')}")
            _fill(server)
            yield server
        finally:
            process.kill()  # its data dies with it
            process.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _prepare(home: Path) -> None:
    (home / "data").mkdir()
    authority = site_authority(home)
    site_files(home, authority)
    (home / "ca.crt").write_bytes(authority.pem)
    filled_in = CONFIGURATION.format(home=home, root=ROOT, manager=_MANAGER, manager_secret=_MANAGER_SECRET)
    (home / "slapd.conf").write_text(filled_in)


def _fill(server: Slapd) -> None:
    server.add(ROOT, "domain", {"dc": "example"})
    server.modify(f"dn: {READER}\nchangetype: add\nobjectClass: person\ncn: reader\nsn: reader\nuserPassword: {READER_SECRET}\n")


def silent_listener() -> socket.socket:
    """A port that takes connections and never says a word, as a directory does whose machine hangs."""
    return socket.create_server(("127.0.0.1", 0))


@pytest.fixture(scope="session")
def slapd() -> Iterator[Slapd]:
    """A directory server for the whole session. Skips by name where there is none; with ROADSTEAD_REQUIRE_LDAP=1 that is a failure."""
    try:
        yield from start_slapd()
    except SlapdMissing as missing:
        if os.environ.get("ROADSTEAD_REQUIRE_LDAP") == "1":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
