"""The one table from what went wrong to how the distribution API says it (distribution-spec, "Error Codes")."""

from __future__ import annotations

from typing import Final

from roadstead import errors
from roadstead.errors import RoadsteadError
from roadstead.serving.errors import nearest, retry_after, sentence
from roadstead.serving.response import Response, json_response

# class → (status, code). A class that is not here is answered as its nearest ancestor that is.
TABLE: Final[dict[type[RoadsteadError], tuple[int, str]]] = {
    errors.RoadsteadError: (500, "UNKNOWN"),
    errors.InvalidInput: (400, "UNSUPPORTED"),
    errors.InvalidName: (400, "NAME_INVALID"),
    errors.InvalidTag: (400, "MANIFEST_INVALID"),
    errors.InvalidDigest: (400, "DIGEST_INVALID"),
    errors.UnsupportedAlgorithm: (400, "DIGEST_INVALID"),
    errors.InvalidManifest: (400, "MANIFEST_INVALID"),
    errors.UnsupportedManifestType: (400, "MANIFEST_INVALID"),
    errors.InvalidRange: (400, "BLOB_UPLOAD_INVALID"),
    errors.InvalidPaging: (400, "UNSUPPORTED"),
    errors.InvalidAccount: (400, "UNSUPPORTED"),
    errors.InvalidLayer: (400, "MANIFEST_INVALID"),
    errors.InvalidSif: (400, "MANIFEST_INVALID"),
    errors.Conflict: (409, "DENIED"),
    errors.InUse: (409, "DENIED"),
    errors.TagMoved: (409, "DENIED"),
    errors.TooLarge: (413, "SIZE_INVALID"),
    errors.ManifestTooLarge: (413, "MANIFEST_INVALID"),
    errors.TooManyTags: (414, "UNSUPPORTED"),
    errors.ImageTooLarge: (413, "SIZE_INVALID"),
    errors.DigestMismatch: (400, "DIGEST_INVALID"),
    errors.SizeMismatch: (400, "SIZE_INVALID"),
    errors.OutOfOrder: (416, "BLOB_UPLOAD_INVALID"),
    errors.RangeNotSatisfiable: (416, "SIZE_INVALID"),
    errors.NotFound: (404, "NAME_UNKNOWN"),
    errors.ProjectUnknown: (404, "NAME_UNKNOWN"),
    errors.RepositoryUnknown: (404, "NAME_UNKNOWN"),
    errors.ManifestUnknown: (404, "MANIFEST_UNKNOWN"),
    errors.BlobUnknown: (404, "BLOB_UNKNOWN"),
    errors.UploadUnknown: (404, "BLOB_UPLOAD_UNKNOWN"),
    errors.ReferenceMissing: (400, "MANIFEST_BLOB_UNKNOWN"),
    errors.Refused: (403, "DENIED"),
    errors.Unauthenticated: (401, "UNAUTHORIZED"),
    errors.InsufficientScope: (401, "UNAUTHORIZED"),
    errors.Denied: (403, "DENIED"),
    errors.GateRefused: (403, "DENIED"),
    errors.QuotaExceeded: (403, "DENIED"),
    errors.TooManyRequests: (429, "TOOMANYREQUESTS"),
    errors.NotOffered: (501, "UNSUPPORTED"),
    errors.NotConvertible: (422, "UNSUPPORTED"),
    errors.ClientFault: (400, "BLOB_UPLOAD_INVALID"),
    errors.ClientGone: (400, "BLOB_UPLOAD_INVALID"),
    errors.BodyTimeout: (408, "BLOB_UPLOAD_INVALID"),
    errors.Unavailable: (503, "UNAVAILABLE"),
    errors.ContentDamaged: (500, "UNKNOWN"),
    errors.StorageFull: (507, "UNAVAILABLE"),
    errors.StoreFailed: (503, "UNAVAILABLE"),
    errors.DatabaseFailed: (503, "UNAVAILABLE"),
    errors.SourceFailed: (503, "UNAVAILABLE"),
    errors.NotReady: (503, "UNAVAILABLE"),
    errors.Misconfigured: (500, "UNKNOWN"),
}


def render(error: RoadsteadError, request_id: str) -> Response:
    """The error as the specification's JSON body; failures of our own name the request's id, for the administrator's log."""
    status, code = nearest(TABLE, error)
    shown = {"code": code, "message": sentence(error, status, request_id), "detail": error.detail or None}
    return json_response(status, {"errors": [shown]}, retry_after(error))
