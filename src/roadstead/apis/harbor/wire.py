"""How values are written and read in this dialect: times, names in paths, the base of every body, and of every noun's routes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import unquote

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema, model_validator

_LAST_ID: Final = 2**63 - 1


def write_moment(moment: datetime) -> str:
    """RFC 3339 with milliseconds, in UTC, as Harbor writes times."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def without_nul(text: str) -> str:
    """The text. Raises ValueError if it has U+0000, which PostgreSQL cannot be asked for."""
    if "\0" in text:
        raise ValueError("the character U+0000 is in no name")
    return text


def _once(text: Any) -> Any:
    return unquote(text) if isinstance(text, str) else text


def _twice(text: Any) -> Any:
    """Clients encode a repository's name once or twice, as proxies on the way may decode it; no valid name holds a percent sign."""
    return unquote(unquote(text)) if isinstance(text, str) else text


Moment = Annotated[datetime, PlainSerializer(write_moment), WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization")]
"""A time in an answer."""

Id = Annotated[int, Path(ge=1, le=_LAST_ID)]
"""An id in a path."""

Segment = Annotated[str, BeforeValidator(_once), AfterValidator(without_nul)]
"""One component of a path, which reaches the handlers as it was sent, percent-encoded."""

ProjectRef = Annotated[Segment, Path(description="The project's name, or its id unless `X-Is-Resource-Name` is true.")]
RepositoryPath = Annotated[
    str,
    BeforeValidator(_twice),
    AfterValidator(without_nul),
    Path(description="The repository's name without its project; a slash in it is percent-encoded, once (%2F) or twice (%252F)."),
]
"""The name of a repository in a path."""


class Body(BaseModel):
    """The body of a request: what it has beyond the fields is ignored, as Harbor does; what has the wrong type is not understood."""

    model_config = ConfigDict(strict=True, extra="ignore")

    @model_validator(mode="after")
    def _has_no_nul(self) -> Body:
        for value in self.__dict__.values():
            _look_into(value)
        return self


def _look_into(value: Any) -> None:
    if isinstance(value, str):
        without_nul(value)
    elif isinstance(value, list | tuple):
        for one in value:
            _look_into(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            without_nul(str(key))
            _look_into(one)


class Answer(BaseModel):
    """The body of an answer, or a part of one; what is None is left out."""

    model_config = ConfigDict(frozen=True)


class Problem(Answer):
    """One thing that went wrong."""

    code: str
    message: str


class Problems(Answer):
    """The body of every answer that is an error."""

    errors: list[Problem]


NOT_OFFERED: Final[dict[int | str, dict[str, Any]]] = {501: {"model": Problems, "description": "This registry does not offer that."}}
"""The `responses` of a route that may refuse so."""

NOT_FOUND: Final[dict[int | str, dict[str, Any]]] = {404: {"model": Problems, "description": "There is none."}}
"""The `responses` of a route that finds nothing though no name in its path says what."""


class Nouns(APIRouter):
    """The routes of one noun. What a body has no value for it leaves out; what returns nothing is answered with no body."""

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """As FastAPI's; see the class."""
        if endpoint.__annotations__.get("return") in (None, "None"):
            options |= {"response_class": Response, "response_model": None}
        super().add_api_route(path, endpoint, **{**options, "response_model_exclude_none": True})
