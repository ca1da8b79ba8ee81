"""The one table from what went wrong to how Harbor's API says it: `{"errors": [{"code": …, "message": …}]}`."""

from __future__ import annotations

from typing import Final

from roadstead import errors
from roadstead.errors import NotOffered, RoadsteadError
from roadstead.serving.errors import MethodNotAllowed, nearest, retry_after, sentence
from roadstead.serving.response import Headers, Response, encoded, json_response

# class → (status, code). A class that is not here is answered as its nearest ancestor that is.
TABLE: Final[dict[type[RoadsteadError], tuple[int, str]]] = {
    errors.RoadsteadError: (500, "UNKNOWN"),
    errors.InvalidInput: (400, "BAD_REQUEST"),
    errors.InvalidName: (400, "BAD_REQUEST"),
    errors.InvalidTag: (400, "BAD_REQUEST"),
    errors.InvalidDigest: (400, "DIGEST_INVALID"),
    errors.UnsupportedAlgorithm: (400, "DIGEST_INVALID"),
    errors.InvalidManifest: (400, "MANIFEST_INVALID"),
    errors.UnsupportedManifestType: (400, "MANIFEST_INVALID"),
    errors.InvalidLayer: (400, "BAD_REQUEST"),
    errors.InvalidSif: (400, "BAD_REQUEST"),
    errors.InvalidRange: (400, "BAD_REQUEST"),
    errors.InvalidPaging: (400, "BAD_REQUEST"),
    errors.InvalidAccount: (400, "BAD_REQUEST"),
    MethodNotAllowed: (405, "METHOD_NOT_ALLOWED"),
    errors.TooLarge: (413, "REQUEST_ENTITY_TOO_LARGE"),
    errors.ManifestTooLarge: (413, "REQUEST_ENTITY_TOO_LARGE"),
    errors.ImageTooLarge: (413, "REQUEST_ENTITY_TOO_LARGE"),
    errors.TooManyTags: (413, "REQUEST_ENTITY_TOO_LARGE"),
    errors.Conflict: (409, "CONFLICT"),
    errors.InUse: (412, "PRECONDITION"),
    errors.TagMoved: (409, "CONFLICT"),
    errors.DigestMismatch: (400, "DIGEST_INVALID"),
    errors.SizeMismatch: (400, "BAD_REQUEST"),
    errors.OutOfOrder: (400, "BAD_REQUEST"),
    errors.RangeNotSatisfiable: (400, "BAD_REQUEST"),
    errors.NotFound: (404, "NOT_FOUND"),
    errors.ProjectUnknown: (404, "NOT_FOUND"),
    errors.RepositoryUnknown: (404, "NOT_FOUND"),
    errors.ManifestUnknown: (404, "NOT_FOUND"),
    errors.BlobUnknown: (404, "NOT_FOUND"),
    errors.UploadUnknown: (404, "NOT_FOUND"),
    errors.ReferenceMissing: (400, "BAD_REQUEST"),
    errors.Refused: (403, "FORBIDDEN"),
    errors.Unauthenticated: (401, "UNAUTHORIZED"),
    errors.InsufficientScope: (403, "FORBIDDEN"),
    errors.Denied: (403, "FORBIDDEN"),
    errors.GateRefused: (403, "PROJECTPOLICYVIOLATION"),
    errors.QuotaExceeded: (403, "DENIED"),
    errors.TooManyRequests: (429, "TOO_MANY_REQUEST"),
    errors.NotOffered: (501, "UNSUPPORTED"),
    errors.NotConvertible: (422, "BAD_REQUEST"),
    errors.ClientFault: (400, "BAD_REQUEST"),
    errors.ClientGone: (400, "BAD_REQUEST"),
    errors.BodyTimeout: (408, "BAD_REQUEST"),
    errors.Unavailable: (503, "UNKNOWN"),
    errors.ContentDamaged: (500, "UNKNOWN"),
    errors.StorageFull: (507, "UNKNOWN"),
    errors.StoreFailed: (503, "UNKNOWN"),
    errors.DatabaseFailed: (503, "UNKNOWN"),
    errors.SourceFailed: (503, "UNKNOWN"),
    errors.NotReady: (503, "UNKNOWN"),
    errors.Misconfigured: (500, "UNKNOWN"),
}

# RFC 9110 §11.6.1 asks for a challenge with every 401. Not Basic, to which a browser would show its own dialogue over the pages.
_CHALLENGE: Final = (b"www-authenticate", b'Bearer realm="roadstead"')


def render(error: RoadsteadError, request_id: str) -> Response:
    """The error as Harbor's JSON body; failures of our own name the request's id, for the administrator's log."""
    status, code = nearest(TABLE, error)
    message = error.message if isinstance(error, NotOffered) else sentence(error, status, request_id)
    return json_response(status, {"errors": [{"code": code, "message": message}]}, _headers(error, status))


def _headers(error: RoadsteadError, status: int) -> Headers:
    headers = [*([_CHALLENGE] if status == 401 else []), *retry_after(error)]
    if "allow" in error.detail:
        headers.append((b"allow", encoded(error.detail["allow"])))
    return headers
