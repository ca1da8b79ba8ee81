"""Metrics and logs of every door.

Counters of all worker processes are added up from prometheus_client's multi-process files; the server sets their folder before it
starts the workers.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_LATEST

COUNTERS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_RESERVED: Final = 256 * 1024  # bytes a file; one set of labels takes some 150

REQUESTS: Final = Counter("roadstead_http_requests_total", "Requests answered, by route, method and status.", ("route", "method", "status"))
SECONDS: Final = Histogram(
    "roadstead_http_request_seconds",
    "Time until the answer was handed to the server, by route.",
    ("route",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600),
)
BYTES_IN: Final = Counter("roadstead_http_received_bytes_total", "Bytes of request bodies received.")
BYTES_OUT: Final = Counter("roadstead_http_sent_bytes_total", "Bytes of response bodies sent.")
UPLOADS: Final = Gauge("roadstead_uploads_in_progress", "Requests that are sending blob content now.", multiprocess_mode="livesum")
LIVE: Final = Gauge("roadstead_live_streams", "Parts of pages that are followed now, by server-sent events.", multiprocess_mode="livesum")
DAMAGED: Final = Counter("roadstead_content_damaged_total", "Requests that met missing or damaged content. Alarm on any increase.")


class RequestIds:
    """Ids of requests: unique by a random prefix, so make one of these in each process, and cheap."""

    def __init__(self) -> None:
        self._prefix = os.urandom(5).hex()
        self._numbers = itertools.count()

    def next(self) -> str:
        """A new id."""
        return f"{self._prefix}{next(self._numbers):06x}"


def reserve_counters() -> None:
    """Take the room of this process's files of counters now, before it counts anything. Raises OSError where there is none.

    They are mapped into memory: where a full medium cannot give a page later, the process would die of SIGBUS.
    """
    folder = os.environ.get(COUNTERS_FOLDER)
    for kind in ("counter", "histogram", "gauge_livesum") if folder else ():
        with Path(folder or "", f"{kind}_{os.getpid()}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, _RESERVED)


class Observed:
    """The metrics of one (route, method, status), looked up once."""

    __slots__ = ("_seconds", "count")

    def __init__(self, route: str, method: str, status: int) -> None:
        self.count = REQUESTS.labels(route, method, str(status)).inc
        self._seconds = SECONDS.labels(route).observe

    def record(self, seconds: float) -> None:
        """Count one request."""
        self.count()
        self._seconds(seconds)


_known: dict[tuple[str, str, int], Observed] = {}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


def observe(route: str, method: str, status: int, seconds: float) -> None:
    """Count one request."""
    key = (route, method if method in _METHODS else "other", status)
    found = _known.get(key)
    if found is None:
        found = _known[key] = Observed(*key)
    found.record(seconds)


def render_metrics() -> tuple[bytes, bytes]:
    """The metrics of all worker processes in Prometheus' text format, and its content type."""
    registry = CollectorRegistry()
    if COUNTERS_FOLDER in os.environ:
        _forget_dead_processes(Path(os.environ[COUNTERS_FOLDER]))
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST.encode()
    return generate_latest(), CONTENT_TYPE_LATEST.encode()


def _forget_dead_processes(folder: Path) -> None:
    """What a killed worker was doing "now" must not be counted for ever; its counters stay."""
    for gauge in folder.glob("gauge_live*.db"):
        if not Path("/proc", gauge.stem.rpartition("_")[2]).exists():
            gauge.unlink(missing_ok=True)


def set_up_logging(level: str) -> None:
    """One JSON object a line on standard error, from `level` on."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_json_line),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    # What libraries say comes out in the same form, and without their tracebacks: what failed is told where it is handled.
    logging.basicConfig(handlers=[_ThroughStructlog(level=max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))], force=True)


def _json_line(event: Any, **_options: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


class _ThroughStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.log(record.levelno, record.getMessage(), logger=record.name)


log: Any = structlog.get_logger()
