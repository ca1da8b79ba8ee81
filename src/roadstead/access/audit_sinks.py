"""Where the audit log is exported to: a file of JSON lines, or a syslog receiver.

    file:///var/log/roadstead/audit.jsonl       one JSON object a line
    syslog://host:514?protocol=udp              RFC 5424 in datagrams (RFC 5426); `udp` is what is meant without `protocol`
    syslog://host:601?protocol=tcp              RFC 5424 in a stream, each message counted (RFC 6587 §3.4.1)
    syslog:///dev/log                           RFC 5424 to the machine's own syslog

A sink blocks, and says by OSError that it has not delivered: then the same rows come again.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

if TYPE_CHECKING:
    from roadstead.metadata.audit import AuditRow

_TIMEOUT_SECONDS: Final = 10.0
_PORT: Final = 514
_MODE: Final = 0o640

_FACILITY: Final = 10
"""authpriv (RFC 5424 §6.2.1): what syslog daemons keep from everybody's eyes without being told to."""

_INFORMATIONAL: Final = 6
_WARNING: Final = 4

_ELEMENT: Final = "audit@32473"
"""RFC 5424 §6.3.2 wants an enterprise's number; this is the one that RFC 5612 keeps for those who have none."""


class Sink(Protocol):
    """One place to export to."""

    def send(self, rows: Sequence[AuditRow]) -> None:
        """Deliver all of the rows, in their order. Raises OSError if some may not have arrived."""


def open_sink(url: str) -> Sink:
    """The sink of a URL as in the module's docstring. Raises ValueError."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme == "file" and not parts.netloc and len(path) > 1 and not parts.query:
        return FileSink(Path(path))
    if parts.scheme == "syslog" and not parts.netloc and len(path) > 1 and not parts.query:
        return LocalSyslogSink(path)
    protocols = parse_qs(parts.query, keep_blank_values=True)
    if parts.scheme == "syslog" and parts.hostname and path in ("", "/") and set(protocols) <= {"protocol"}:
        kind = _NETWORK.get(protocols.get("protocol", ["udp"])[-1])
        if kind is not None:
            return kind(parts.hostname, parts.port or _PORT)
    raise ValueError("write file:///absolute/path, syslog://host:port?protocol=udp, syslog://host:port?protocol=tcp or syslog:///dev/log")


class FileSink:
    """A file of JSON lines, opened anew for every batch: a file that was renamed away is left, and a new one is begun.

    A batch is on the disk before `send` returns. One that could not be written whole leaves an unfinished line at worst.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, rows: Sequence[AuditRow]) -> None:
        """See `Sink`."""
        content = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        with os.fdopen(os.open(self._path, flags, _MODE), "r+b", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                content = b"\n" + content
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(file.fileno(), rest) :]
            os.fsync(file.fileno())
        if not size:
            self._keep_name()

    def _keep_name(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class UdpSyslogSink:
    """Datagrams to a host. Nothing says whether they arrive, unless the host itself answers that nobody listens."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)

    def send(self, rows: Sequence[AuditRow]) -> None:
        """See `Sink`."""
        with closing(_connected(self._address, socket.SOCK_DGRAM)) as connection:
            for message in _messages(rows):
                connection.sendall(message)


class TcpSyslogSink:
    """One connection a batch. The receiver has read all of it when it closes its side after ours: only then is the batch delivered."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)

    def send(self, rows: Sequence[AuditRow]) -> None:
        """See `Sink`."""
        with closing(_connected(self._address, socket.SOCK_STREAM)) as connection:
            connection.sendall(b"".join(b"%d %b" % (len(message), message) for message in _messages(rows)))
            connection.shutdown(socket.SHUT_WR)
            if connection.recv(1):
                raise OSError("the receiver answers, which is no syslog")


class LocalSyslogSink:
    """Datagrams to the socket of the machine's own syslog, which takes each or says that it cannot."""

    def __init__(self, path: str) -> None:
        self._path = path

    def send(self, rows: Sequence[AuditRow]) -> None:
        """See `Sink`."""
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            connection.connect(self._path)
            for message in _messages(rows):
                connection.sendall(message)


_NETWORK: Final[dict[str, type[UdpSyslogSink] | type[TcpSyslogSink]]] = {"udp": UdpSyslogSink, "tcp": TcpSyslogSink}


def _connected(address: tuple[str, int], kind: socket.SocketKind) -> socket.socket:
    """A socket to the first of the host's addresses that takes one."""
    failure: OSError = OSError(f"{address[0]} has no address")
    for family, _, protocol, _, found in socket.getaddrinfo(*address, type=kind):
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(_TIMEOUT_SECONDS)
        try:
            connection.connect(found)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _messages(rows: Sequence[AuditRow]) -> Iterator[bytes]:
    host = re.sub(r"[^!-~]", "", socket.gethostname())[:255] or "-"
    return (syslog_message(row, host) for row in rows)


def syslog_message(row: AuditRow, host: str) -> bytes:
    """One row as RFC 5424 has it: every field in structured data, and a sentence for whoever only reads the text."""
    severity = _INFORMATIONAL if row.result == "success" else _WARNING
    at = row.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields = {name: value for name, value in msgspec.structs.asdict(row).items() if value is not None and name != "at"}
    data = " ".join(f'{name}="{_escaped(str(value))}"' for name, value in fields.items())
    sentence = f"{row.actor} {row.action} {row.resource_type} {row.resource}: {row.result}"
    kind = f"{row.action}-{row.resource_type}"[:32]
    return f"<{_FACILITY * 8 + severity}>1 {at} {host} roadstead - {kind} [{_ELEMENT} {data}] {sentence}".encode()


def _escaped(value: str) -> str:
    """A parameter's value (RFC 5424 §6.3.3)."""
    return re.sub(r'(["\\\]])', r"\\\1", value)
