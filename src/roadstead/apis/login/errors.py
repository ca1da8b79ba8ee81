"""The one table from what went wrong to how the login doors say it: Harbor's form of errors, with its words."""

from __future__ import annotations

from typing import Final

from roadstead import errors
from roadstead.errors import RoadsteadError
from roadstead.serving.errors import nearest, retry_after, sentence
from roadstead.serving.response import Response, json_response

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
    status, code = nearest(TABLE, error)
    shown = {"code": code, "message": sentence(error, status, request_id)}
    return json_response(status, {"errors": [shown]}, retry_after(error))
