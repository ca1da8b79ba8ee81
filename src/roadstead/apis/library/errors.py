"""The one table from what went wrong to the status by which the library API says it; its errors have no other codes."""

from __future__ import annotations

from typing import Final

from roadstead.errors import RoadsteadError
from roadstead.serving.errors import STATUSES, nearest, retry_after, sentence
from roadstead.serving.response import Response, json_response

# class → status. Of all of them clients read a meaning into 404 alone: "make it".
TABLE: Final[dict[type[RoadsteadError], int]] = dict(STATUSES)


def render(error: RoadsteadError, request_id: str, status: int | None = None) -> Response:
    """The error in the API's envelope, with `status` where it is not the table's; failures of our own name the request's id."""
    status = status or nearest(TABLE, error)
    shown = {"code": status, "message": sentence(error, status, request_id)}
    return json_response(status, {"error": shown}, retry_after(error))
