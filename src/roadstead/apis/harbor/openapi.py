"""The OpenAPI description: FastAPI's own, with the statuses that this door really answers."""

from __future__ import annotations

import re
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from roadstead.apis.harbor.call import PREFIX
from roadstead.apis.harbor.wire import Problems

_DESCRIPTION: Final = (
    "Harbor's API, version 2, as far as this registry has what it speaks of; and what Harbor has no word for, under the same prefix. "
    "Log in with a password, CLI secret, token or robot (HTTP Basic), or a bearer token."
)
_PROBLEM: Final = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problems"}}}}
_ALWAYS: Final = {
    "401": "Log in first.",
    "429": "Too many requests.",
    "500": "The registry failed.",
    "503": "The registry cannot do this now.",
}
_REFUSED: Final = {"403": "Not allowed."}
_READ: Final = {"400": "The request cannot be understood."}
_NAMED: Final = {"404": "There is no such thing, or you may not see it."}
_CHANGED: Final = {"409": "It is there already.", "412": "It is still in use.", "413": "Too large.", "507": "The storage is full."}


def describe(app: FastAPI) -> dict[str, Any]:
    """The description of every route of `app`."""
    described = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes, servers=[{"url": PREFIX}])
    components = described.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    problems = Problems.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problems.pop("$defs") | {"Problems": problems}
    components["securitySchemes"] = {"basic": {"type": "http", "scheme": "basic"}, "bearer": {"type": "http", "scheme": "bearer"}}
    described["security"] = [{}, {"basic": []}, {"bearer": []}]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            _tell_names(path, operation)
            _tell_errors(method, operation)
    return described


def _tell_names(path: str, operation: dict[str, Any]) -> None:
    """Every name in a path is a parameter, also where no handler reads it because there is nothing of that kind."""
    told = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
    for name in re.findall(r"{(\w+)}", path):
        if name not in told:
            unread = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            operation.setdefault("parameters", []).append(unread)


def _tell_errors(method: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    where = {one["in"] for one in operation.get("parameters", ())}
    told = {**_ALWAYS, **_REFUSED}
    if where or "requestBody" in operation:
        told |= _READ
    if "path" in where or method == "head":
        told |= _NAMED
    if method not in ("get", "head"):
        told |= _CHANGED
    for status, meaning in told.items():
        answers.setdefault(status, {"description": meaning, **_PROBLEM})
