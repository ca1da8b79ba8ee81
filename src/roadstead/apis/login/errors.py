"""The one table from what went wrong to how the login doors say it: Harbor's form of errors, with its words."""

from __future__ import annotations

from typing import Final

from roadstead import errors
from roadstead.errors import RoadsteadError
from roadstead.serving.response import Headers, Response, json_response

# class → (status, code). A class that is not here is answered as its nearest ancestor that is.
TABLE: Final[dict[type[RoadsteadError], tuple[int, str]]] = {
    errors.RoadsteadError: (500, "UNKNOWN"),
    errors.InvalidInput: (400, "BAD_REQUEST"),
    errors.TooLarge: (413, "REQUEST_ENTITY_TOO_LARGE"),
    errors.Conflict: (409, "CONFLICT"),
    errors.DigestMismatch: (400, "BAD_REQUEST"),
    errors.SizeMismatch: (400, "BAD_REQUEST"),
    errors.OutOfOrder: (400, "BAD_REQUEST"),
    errors.RangeNotSatisfiable: (400, "BAD_REQUEST"),
    errors.NotFound: (404, "NOT_FOUND"),
    errors.ReferenceMissing: (400, "BAD_REQUEST"),
    errors.Refused: (403, "FORBIDDEN"),
    errors.Unauthenticated: (401, "UNAUTHORIZED"),
    errors.Denied: (403, "FORBIDDEN"),
    errors.GateRefused: (403, "FORBIDDEN"),
    errors.QuotaExceeded: (403, "FORBIDDEN"),
    errors.TooManyRequests: (429, "TOO_MANY_REQUEST"),
    errors.NotOffered: (501, "NOT_IMPLEMENTED"),
    errors.NotConvertible: (422, "UNPROCESSABLE_ENTITY"),
    errors.ClientFault: (400, "BAD_REQUEST"),
    errors.BodyTimeout: (408, "BAD_REQUEST"),
    errors.Unavailable: (503, "SERVICE_UNAVAILABLE"),
    errors.ContentDamaged: (500, "UNKNOWN"),
    errors.StorageFull: (507, "SERVICE_UNAVAILABLE"),
    errors.Misconfigured: (500, "UNKNOWN"),
}


def render(error: RoadsteadError, request_id: str) -> Response:
    """The error as JSON; failures of our own name the request's id, for the administrator's log."""
    status, code = next(TABLE[cls] for cls in type(error).__mro__ if cls in TABLE)
    message = error.message if status < 500 else f"{error.message} (request {request_id})"
    wait: Headers = [(b"retry-after", b"%d" % int(str(error.detail["retry_after"])))] if "retry_after" in error.detail else []
    return json_response(status, {"errors": [{"code": code, "message": message}]}, wait)
