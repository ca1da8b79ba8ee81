"""The one table from what went wrong to the page that tells it. A page for what is not there does not tell whether it is hidden."""

from __future__ import annotations

from typing import Final

from roadstead import errors
from roadstead.errors import RoadsteadError
from roadstead.serving.errors import nearest

# class → (status, title). A class that is not here is answered as its nearest ancestor that is.
TABLE: Final[dict[type[RoadsteadError], tuple[int, str]]] = {
    errors.RoadsteadError: (500, "Something went wrong"),
    errors.InvalidInput: (400, "That was not understood"),
    errors.TooLarge: (413, "That is too large"),
    errors.Conflict: (409, "That is not possible now"),
    errors.DigestMismatch: (400, "That was not understood"),
    errors.SizeMismatch: (400, "That was not understood"),
    errors.OutOfOrder: (400, "That was not understood"),
    errors.RangeNotSatisfiable: (416, "That was not understood"),
    errors.NotFound: (404, "There is nothing here"),
    errors.ReferenceMissing: (400, "Something is missing"),
    errors.Refused: (403, "That is not allowed"),
    errors.Unauthenticated: (401, "Log in first"),
    errors.TooManyRequests: (429, "Too many requests"),
    errors.NotOffered: (501, "That is not offered"),
    errors.NotConvertible: (422, "That cannot be converted"),
    errors.ClientFault: (400, "The connection failed"),
    errors.BodyTimeout: (408, "The connection failed"),
    errors.Unavailable: (503, "Not available at the moment"),
    errors.ContentDamaged: (500, "Stored content is damaged"),
    errors.StorageFull: (507, "The storage is full"),
    errors.Misconfigured: (500, "Something went wrong"),
}


def status_of(error: RoadsteadError) -> tuple[int, str]:
    """The row of an error: its status and the title of its page."""
    return nearest(TABLE, error)
