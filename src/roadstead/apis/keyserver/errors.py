"""The one table from what went wrong to the status of the key server. The body is the form that Apptainer shows to its user."""

from __future__ import annotations

from typing import Final

from roadstead import errors
from roadstead.errors import RoadsteadError
from roadstead.serving.errors import STATUSES, nearest, retry_after, sentence
from roadstead.serving.response import Response, json_response

# class → status. Keys have no ranges and no order.
TABLE: Final[dict[type[RoadsteadError], int]] = {**STATUSES, errors.OutOfOrder: 400, errors.RangeNotSatisfiable: 400}


def render(error: RoadsteadError, request_id: str) -> Response:
    """The error as JSON; failures of our own name the request's id, for the administrator's log."""
    status = nearest(TABLE, error)
    shown = {"code": status, "message": sentence(error, status, request_id)}
    return json_response(status, {"error": shown}, retry_after(error))
