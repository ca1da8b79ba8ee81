"""The one table from what went wrong to the status of the key server. The body is the form that Apptainer shows to its user."""

from __future__ import annotations

from typing import Final

from roadstead import errors
from roadstead.errors import RoadsteadError
from roadstead.serving.response import Headers, Response, json_response

# class → status. A class that is not here is answered as its nearest ancestor that is.
TABLE: Final[dict[type[RoadsteadError], int]] = {
    errors.RoadsteadError: 500,
    errors.InvalidInput: 400,
    errors.TooLarge: 413,
    errors.Conflict: 409,
    errors.DigestMismatch: 400,
    errors.SizeMismatch: 400,
    errors.OutOfOrder: 400,
    errors.RangeNotSatisfiable: 400,
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


def render(error: RoadsteadError, request_id: str) -> Response:
    """The error as JSON; failures of our own name the request's id, for the administrator's log."""
    status = next(TABLE[cls] for cls in type(error).__mro__ if cls in TABLE)
    message = error.message if status < 500 else f"{error.message} (request {request_id})"
    wait: Headers = [(b"retry-after", b"%d" % int(str(error.detail["retry_after"])))] if "retry_after" in error.detail else []
    return json_response(status, {"error": {"code": status, "message": message}}, wait)
