"""One LDAP directory: who somebody is there, whether a password is theirs, and which groups they are in.

The directory is asked as a service account (or anonymously); the password is proved by binding as the entry that was found for the name.
Nothing that was typed reaches a filter unescaped, and no password that is empty, or that the library would cut short, reaches a bind:
directories take a bind without a password for an anonymous one, and answer that it went well (RFC 4513 §5.1.2).

`bonsai` is optional and written in C. It connects and shakes hands in one blocking call, so `_reach` goes first, by asyncio and within the
timeout: a host that does not answer never holds up the loop, and what is wrong with its certificate is said precisely.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from roadstead.access.distinguished_name import normalise
from roadstead.access.person import Person, Step
from roadstead.access.source_settings import LdapSettings
from roadstead.access.source_tls import tls_context, trouble
from roadstead.errors import SourceFailed

log = structlog.get_logger()

MISSING: Final = "needs the optional package for LDAP, which is not installed here (make ldap, or pip install 'roadstead[ldap]')"
DEEPEST: Final = 10
"""Levels of groups in groups that are walked."""
MOST_GROUPS: Final = 2000

_LONGEST_PASSWORD: Final = 4096
_POLL_SECONDS: Final = 0.002
_NAMES_IN_A_FILTER: Final = 50
_IN_CHAIN: Final = "1.2.840.113556.1.4.1941"
_ANYTHING: Final = "(objectClass=*)"
_BASE, _SUBTREE = 0, 2
# ExtendedRequest with the name of StartTLS (RFC 4511 §4.14.1), as message 1.
_START_TLS: Final = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
_RESULT_CODE: Final = b"\x0a\x01"


class No(Enum):
    """Why somebody is not let in: nobody has that name there, or the password is not theirs."""

    UNKNOWN = "unknown"
    REFUSED = "refused"


class Directory:
    """See the module's docstring. Every method raises SourceFailed where the directory does not answer, or not as it was set up."""

    def __init__(self, name: str, settings: LdapSettings, secret: str) -> None:
        self._name = name
        self._settings = settings
        self._secret = secret

    async def log_in(self, name: str, password: str) -> Person | No:
        """Who has that name and password."""
        if not name or not password or "\0" in password or len(password) > _LONGEST_PASSWORD:
            return No.REFUSED
        async with self.reading() as reader:
            entry = await reader.by_name(name)
            if entry is None:
                return No.UNKNOWN
            if not await self._is_password_of(str(entry.dn), password):
                return No.REFUSED
            return await reader.person(entry)

    async def check(self) -> list[Step]:
        """Try what can be tried without a person's password: the connection, the bind, the bases and the filters."""
        steps = [Step("connection", True, f"{self._settings.url} answers{self._how_safe()}.")]
        try:
            await self._reach()
            async with self._bound(self._settings.bind_dn, self._secret, "service account") as connection:
                steps.append(Step("bind", True, f"It lets {self._settings.bind_dn or 'anonymous'} in."))
                await self._check_searches(Reader(self, self._settings, connection), steps)
        except SourceFailed as error:
            failed = error.detail.get("step", "connection")
            steps = [step for step in steps if step.what != failed]
            steps.append(Step(str(failed), False, error.message))
        return steps

    def _how_safe(self) -> str:
        if self._settings.start_tls or self._settings.url.startswith("ldaps:"):
            return ", and its certificate is trusted" if self._settings.verify else ", encrypted; its certificate is not looked at"
        return ", unencrypted"

    async def _check_searches(self, reader: Reader, steps: list[Step]) -> None:
        await reader.require_base(self._settings.base_dn, "base")
        steps.append(Step("base", True, f"{self._settings.base_dn} is there."))
        await reader.by_name("roadstead-tries-its-filter")
        steps.append(Step("filter", True, "It takes the filter for people."))
        if self._settings.group_base_dn:
            await reader.require_base(self._settings.group_base_dn, "groups")
            await reader.groups_of(self._settings.base_dn, "roadstead-tries-its-filter")
            steps.append(Step("groups", True, f"{self._settings.group_base_dn} is there, and it takes the filter for groups."))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        """Ask the directory several things on one connection, as its service account."""
        await self._reach()
        async with self._bound(self._settings.bind_dn, self._secret, "service account") as connection:
            yield Reader(self, self._settings, connection)

    async def _is_password_of(self, dn: str, password: str) -> bool:
        """Whether the directory lets the entry in with the password; what else it may object to, it has refused."""
        bonsai = self.bonsai()
        try:
            async with self._open(dn, password):
                return True
        except (bonsai.ConnectionError, bonsai.TimeoutError, TimeoutError) as error:
            raise self.failed("stopped answering in the middle of a login") from error
        except bonsai.LDAPError:
            return False

    @asynccontextmanager
    async def _bound(self, dn: str, password: str, whose: str) -> AsyncIterator[Any]:
        bonsai = self.bonsai()
        opened = self._open(dn, password)
        try:
            connection = await opened.__aenter__()
        except (bonsai.ConnectionError, TimeoutError, bonsai.TimeoutError) as error:
            raise self.failed(f"cannot be reached: {_words(error)}") from error
        except bonsai.LDAPError as error:
            raise self.failed(f"does not let its {whose} in: {_words(error)}", "bind") from error
        try:
            yield connection
        finally:
            await opened.__aexit__(None, None, None)

    @asynccontextmanager
    async def _open(self, dn: str, password: str) -> AsyncIterator[Any]:
        """A connection that is bound: anonymously without a DN, else by its password."""
        with self._client() as client:
            if dn:
                client.set_credentials("SIMPLE", user=dn, password=password)
            connection = await client.connect(is_async=True, timeout=self._settings.timeout_seconds)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _client(self) -> Iterator[Any]:
        bonsai, settings = self.bonsai(), self._settings
        client = bonsai.LDAPClient(settings.url, tls=settings.start_tls)
        client.set_async_connection_class(_connection_class())
        client.set_cert_policy("demand" if settings.verify else "never")
        client.set_server_chase_referrals(False)
        if settings.subject_attribute.lower() == "objectguid":
            client.set_raw_attributes([settings.subject_attribute])
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(settings.ca)
            file.flush()
            client.set_ca_cert(file.name if settings.ca else _system_authorities())
            yield client

    def bonsai(self) -> Any:
        """The library, if it is installed."""
        # What libldap itself would wait for without end, should a directory stop answering between `_reach` and its own handshake.
        os.environ.setdefault("LDAPNETWORK_TIMEOUT", "10")
        try:
            import bonsai  # noqa: PLC0415 - optional
        except ImportError as error:
            raise self.failed(MISSING) from error
        return bonsai

    async def _reach(self) -> None:
        """Prove within the timeout that the directory answers, and that its certificate is trusted where it has to show one."""
        self.bonsai()
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                await self._shake_hands()
        except TimeoutError as error:
            raise self.failed(f"does not answer within {self._settings.timeout_seconds:g} seconds") from error
        except (OSError, ssl.SSLError, EOFError) as error:
            raise self.failed(trouble(error)) from error

    async def _shake_hands(self) -> None:
        parts = urlsplit(self._settings.url)
        secure = parts.scheme == "ldaps"
        context = tls_context(self._settings.verify, self._settings.ca)
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port or (636 if secure else 389), ssl=context if secure else None
        )
        try:
            if self._settings.start_tls:
                writer.write(_START_TLS)
                answer = await reader.read(512)
                at = answer.find(_RESULT_CODE)
                if at < 0 or answer[at + 2 : at + 3] != b"\0":
                    raise self.failed("does not offer StartTLS")
                await writer.start_tls(context, server_hostname=parts.hostname)
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()

    def failed(self, how: str, step: str = "connection") -> SourceFailed:
        """The source's failure in one sentence; `step` is which of `check` it belongs to."""
        return SourceFailed(f"The login source {self._name!r} {how}.", source=self._name, step=step)


class Reader:
    """Searches on one open connection."""

    def __init__(self, directory: Directory, settings: LdapSettings, connection: Any) -> None:
        self._directory = directory
        self._settings = settings
        self._connection = connection

    async def by_name(self, name: str) -> Any | None:
        """The one entry for a login name; None where there is none, or where several are, as none of them is more it than another."""
        wanted = self._settings.user_filter.replace("{name}", escape(name))
        entries = await self._search(self._settings.base_dn, wanted, self._attributes(), "filter")
        if len(entries) > 1:
            log.warning("several entries for one login name", source=self._settings.url, entries=len(entries))
        return entries[0] if len(entries) == 1 else None

    async def by_subject(self, subject: str) -> Person | None:
        """The person of that subject, if the directory would still let them log in; under the name they have there now."""
        attribute = self._settings.subject_attribute
        if not attribute:
            entries = await self._search(subject, _ANYTHING, self._attributes(), "filter", _BASE)
        elif attribute.lower() == "objectguid":
            octets = "".join(f"\\{octet:02x}" for octet in uuid.UUID(subject).bytes_le)
            entries = await self._search(self._settings.base_dn, f"({attribute}={octets})", self._attributes(), "filter")
        else:
            entries = await self._search(self._settings.base_dn, f"({attribute}={escape(subject)})", self._attributes(), "filter")
        name = _first(entries[0], self._settings.name_attribute) if len(entries) == 1 else None
        found = None if name is None else await self.by_name(name)
        return await self.person(found) if found is not None and self._subject(found) == subject else None

    async def person(self, entry: Any) -> Person:
        """What the directory says of an entry."""
        settings = self._settings
        name = _first(entry, settings.name_attribute)
        if name is None:
            raise self._directory.failed(f"has no {settings.name_attribute} for {entry.dn}", "filter")
        groups = await self.groups_of(str(entry.dn), name)
        return Person(
            subject=self._subject(entry),
            name=name.lower(),
            email=_first(entry, settings.email_attribute),
            real_name=_first(entry, settings.real_name_attribute),
            groups=groups,
            is_admin=normalise(settings.admin_group) in groups if settings.admin_group else None,
        )

    def _subject(self, entry: Any) -> str:
        attribute = self._settings.subject_attribute
        if not attribute:
            return normalise(str(entry.dn))
        values = entry.get(attribute)
        if not values:
            raise self._directory.failed(f"has no {attribute} for {entry.dn}: set the attribute that never changes for a person", "filter")
        value = values[0]
        return str(uuid.UUID(bytes_le=value)) if isinstance(value, bytes) else str(value)

    def _attributes(self) -> list[str]:
        settings = self._settings
        wanted = (settings.name_attribute, settings.email_attribute, settings.real_name_attribute, settings.subject_attribute)
        return sorted({one for one in wanted if one})

    async def groups_of(self, dn: str, name: str) -> frozenset[str]:
        """The names of all groups that hold the entry, or hold a group that does, in one spelling.

        Groups in groups are walked level by level, each group once, so a circle ends; at most DEEPEST levels and MOST_GROUPS groups.
        """
        settings = self._settings
        if not settings.group_base_dn:
            return frozenset()
        found: dict[str, str] = {}
        holders = [dn if settings.group_member_is == "dn" else name]
        for _level in range(DEEPEST if settings.nesting == "walk" else 1):
            new = {key: value for key, value in await self._holding(holders) if key not in found}
            found |= new
            holders = list(new.values())
            if not holders:
                break
            if len(found) > MOST_GROUPS:
                log.warning("somebody is in more groups than are walked", source=settings.url, groups=len(found))
                break
        return frozenset(found)

    async def _holding(self, held: Sequence[str]) -> list[tuple[str, str]]:
        """The groups that hold one of these: their names in one spelling, and as the directory spells them."""
        settings = self._settings
        rule = f":{_IN_CHAIN}:" if settings.nesting == "chain" else ""
        entries: list[Any] = []
        for start in range(0, len(held), _NAMES_IN_A_FILTER):
            some = held[start : start + _NAMES_IN_A_FILTER]
            any_of = "".join(f"({settings.group_member_attribute}{rule}={escape(one)})" for one in some)
            wanted = f"(&{settings.group_filter}(|{any_of}))"
            entries += await self._search(settings.group_base_dn, wanted, ["1.1"], "groups")
        return [(normalise(str(entry.dn)), str(entry.dn)) for entry in entries]

    async def require_base(self, dn: str, step: str) -> None:
        """Raise SourceFailed where there is no such entry, or the service account may not see it."""
        if not await self._search(dn, _ANYTHING, ["1.1"], step, _BASE):
            raise self._directory.failed(f"has no entry {dn}, or does not show it", step)

    async def _search(self, base: str, wanted: str, attributes: list[str], step: str, scope: int = _SUBTREE) -> list[Any]:
        bonsai = self._directory.bonsai()
        try:
            found = await self._connection.search(base, scope, wanted, attributes, self._settings.timeout_seconds)
        except (bonsai.LDAPError, TimeoutError, ValueError) as error:
            by = self._settings.group_filter if step == "groups" else self._settings.user_filter
            raise self._directory.failed(f"cannot be searched below {base} by {by}: {_words(error)}", step) from error
        return [entry for entry in found if isinstance(entry, bonsai.LDAPEntry)]


def escape(value: str) -> str:
    """A value as a filter takes it for itself and nothing else (RFC 4515 §3)."""
    return "".join(f"\\{ord(one):02x}" if one in "\\*()\0" else one for one in value)


def _first(entry: Any, attribute: str) -> str | None:
    values = entry.get(attribute) if attribute else None
    return str(values[0]) if values else None


def _words(error: BaseException) -> str:
    return str(error.args[0]).rstrip(". ") if error.args and error.args[0] else type(error).__name__


def _system_authorities() -> str | None:
    """The file of the system's authorities: libldap alone would trust none where its own configuration file is missing."""
    paths = ssl.get_default_verify_paths()
    usual = (paths.cafile, paths.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt")
    return next((path for path in usual if path and Path(path).is_file()), None)


@cache
def _connection_class() -> Any:
    """A connection that looks for its answer every other millisecond.

    The library's own waits until its socket may be written to, which is always: it would keep the processor busy until the answer is there.
    """
    from bonsai.asyncio import AIOLDAPConnection  # noqa: PLC0415 - optional
    from bonsai.ldapconnection import BaseLDAPConnection  # noqa: PLC0415 - optional

    class Connection(AIOLDAPConnection):  # type: ignore[misc]
        async def _poll(self, message: int, timeout: float | None = None) -> Any:
            async with asyncio.timeout(timeout):
                while (answer := BaseLDAPConnection.get_result(self, message)) is None:  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(_POLL_SECONDS)
            return answer

    return Connection
