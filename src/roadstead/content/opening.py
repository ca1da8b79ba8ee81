"""The store that a URL names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from roadstead.content.filesystem import FilesystemStore
from roadstead.content.memory import MemoryStore
from roadstead.content.store import ContentStore
from roadstead.errors import Misconfigured

LONGEST_VALID = 24 * 3600
"""The longest (seconds) that a presigned URL may be made to live. Bytes are removed only after a grace that is longer."""


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may follow the question mark of an s3: URL."""

    endpoint: str | None = None
    region: str | None = None
    redirect: bool = True
    valid: int = 900


async def open_store(url: str) -> ContentStore:
    """The store at `url`, ready to be used; close it in the end.

    * `file:///var/lib/roadstead`: files below this directory, which is made if it is missing;
    * `s3://bucket/prefix?endpoint=https://s3.example.org&region=eu-1&redirect=false&valid=900`: a bucket. All that follows the bucket may
      be left out: without `endpoint` it is AWS; with `redirect=false` clients are never sent to the bucket itself; `valid` is how many
      seconds a URL to it lives. Credentials come from the environment or profile, as for every AWS client;
    * `memory:`: this process's memory, for trials.

    Raises Misconfigured, and StorageFull or StoreFailed if the directory cannot be made.
    """
    parts = urlsplit(url)
    match parts.scheme:
        case "memory":
            return MemoryStore()
        case "file":
            return await _open_directory(parts)
        case "s3":
            return await _open_bucket(parts)
    raise Misconfigured(f"The storage URL {url!r} is not understood: it begins with file:///, s3:// or memory:.")


async def _open_directory(parts: SplitResult) -> ContentStore:
    path = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or not path.startswith("/") or parts.query:
        raise _invalid(parts, "write file:// and an absolute path, as in file:///var/lib/roadstead")
    store = FilesystemStore(Path(path))
    await store.prepare()
    return store


async def _open_bucket(parts: SplitResult) -> ContentStore:
    # Loading the S3 client takes half a second and 50 MB: only those who use it pay for it.
    from roadstead.content.s3 import S3Settings, S3Store  # noqa: PLC0415

    query, prefix = _query(parts), unquote(parts.path).strip("/")
    if not parts.netloc:
        raise _invalid(parts, "it names no bucket, as in s3://bucket or s3://bucket/prefix")
    settings = S3Settings(
        bucket=parts.netloc,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=query.endpoint,
        region=query.region or ("us-east-1" if query.endpoint else None),
        redirect=query.redirect,
        valid_seconds=query.valid,
    )
    store = S3Store(settings)
    await store.prepare()
    return store


def _query(parts: SplitResult) -> Query:
    try:
        query = msgspec.convert(dict(parse_qsl(parts.query, strict_parsing=bool(parts.query))), Query, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        raise _invalid(parts, str(error)) from None
    if query.endpoint is not None and urlsplit(query.endpoint).scheme not in {"http", "https"}:
        raise _invalid(parts, "the endpoint begins with https:// or http://")
    if not 1 <= query.valid <= LONGEST_VALID:
        raise _invalid(parts, f"'valid' is a number of seconds from 1 to {LONGEST_VALID}")
    return query


def _invalid(parts: SplitResult, rule: str) -> Misconfigured:
    return Misconfigured(f"The storage URL {parts.geturl()!r} is not valid: {rule}.")
