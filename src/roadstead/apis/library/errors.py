"""The one table from what went wrong to the status by which the library API says it; its errors have no other codes."""

from __future__ import annotations

from typing import Final

from roadstead import errors
from roadstead.errors import RoadsteadError
from roadstead.serving.response import Headers, Response, json_response

# A class that is not here is answered as its nearest ancestor that is. Of all statuses clients read a meaning into 404 alone: "make it".
TABLE: Final[dict[type[RoadsteadError], int]] = {
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
    errors.Denied: 403,
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


def render(error: RoadsteadError, request_id: str, status: int | None = None) -> Response:
    """The error in the API's envelope, with `status` where it is not the table's; failures of our own name the request's id."""
    status = status or next(TABLE[cls] for cls in type(error).__mro__ if cls in TABLE)
    message = error.message if status < 500 else f"{error.message} (request {request_id})"
    wait: Headers = [(b"retry-after", b"%d" % int(str(error.detail["retry_after"])))] if "retry_after" in error.detail else []
    return json_response(status, {"error": {"code": status, "message": message}}, wait)
