"""What every door does alike when it says what went wrong: find the row of its table, and word it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from roadstead import errors
from roadstead.errors import InvalidInput, RoadsteadError
from roadstead.serving.response import Headers

Row = TypeVar("Row")


class MethodNotAllowed(InvalidInput):
    """This method has no meaning here."""


# For doors whose errors have a status and no code: class → status. A door says beside it what it answers otherwise.
STATUSES: Final[Mapping[type[RoadsteadError], int]] = {
    errors.RoadsteadError: 500,
    errors.InvalidInput: 400,
    errors.TooLarge: 413,
    errors.Conflict: 409,
    errors.DigestMismatch: 400,
    errors.SizeMismatch: 400,
    errors.OutOfOrder: 409,
    errors.RangeNotSatisfiable: 416,
    errors.NotFound: 404,
    errors.ReferenceMissing: 400,
    errors.Refused: 403,
    errors.Unauthenticated: 401,
    errors.TooManyRequests: 429,
    errors.NotOffered: 501,
    errors.NotConvertible: 422,
    errors.ClientFault: 400,
    errors.BodyTimeout: 408,
    errors.Unavailable: 503,
    errors.ContentDamaged: 500,
    errors.StorageFull: 507,
    errors.Misconfigured: 500,
}


def nearest(table: Mapping[type[RoadsteadError], Row], error: RoadsteadError) -> Row:
    """The row of the error's class, or of its nearest ancestor that has one; the tree's root has one in every table."""
    return next(table[cls] for cls in type(error).__mro__ if cls in table)


def sentence(error: RoadsteadError, status: int, request_id: str) -> str:
    """What the error says; failures of our own name the request's id, for the administrator's log."""
    return error.message if status < 500 else f"{error.message} (request {request_id})"


def retry_after(error: RoadsteadError) -> Headers:
    """Retry-After (RFC 9110 §10.2.3, seconds) where the error knows when to come again."""
    return [(b"retry-after", b"%d" % int(str(error.detail["retry_after"])))] if "retry_after" in error.detail else []
