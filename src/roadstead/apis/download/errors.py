"""The one table from what went wrong to the status that says so; the body is a line of text."""

from __future__ import annotations

from typing import Final

from roadstead import errors
from roadstead.errors import RoadsteadError
from roadstead.serving.errors import STATUSES, nearest, retry_after, sentence
from roadstead.serving.response import Response, text_response

# class → status. To whom only downloads, a part that is not there is a file that is not there.
TABLE: Final[dict[type[RoadsteadError], int]] = {**STATUSES, errors.ReferenceMissing: 404}


def render(error: RoadsteadError, request_id: str) -> Response:
    """The error's sentence; failures of our own name the request's id, for the administrator's log."""
    status = nearest(TABLE, error)
    response = text_response(status, sentence(error, status, request_id))
    response.headers += retry_after(error)
    return response
