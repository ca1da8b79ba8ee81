"""The page about the management API lists the operations that there are, and what it says of the missing ones is what they answer."""

from __future__ import annotations

import re
from pathlib import Path

from roadstead.apis.harbor.absent import EMPTY, LACKING
from roadstead.apis.harbor.app import build
from roadstead.apis.harbor.configurations import FIXED
from roadstead.apis.harbor.openapi import describe
from tests.protocols.harbor.operations import FIRST

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "harbor-api.md"
NOT_OFFERED = "not offered"


def operations() -> dict[tuple[str, str], dict[str, object]]:
    """Every operation of the description, by method and path."""
    paths = describe(build())["paths"]
    return {(method.upper(), path): operation for path, methods in paths.items() for method, operation in methods.items()}


def offered_rows() -> list[str]:
    """One line for each operation that does something."""
    return [
        f"| {method} | `{path}` | {str(operation.get('description', '')).partition(chr(10))[0]} |"
        for (method, path), operation in operations().items()
        if operation["tags"] != [NOT_OFFERED]
    ]


def lacking_rows() -> list[str]:
    """One line for each path of what there is not."""
    empty = [f"| GET | `{one.path}` | empty |" for one in EMPTY]
    return [*empty, *(f"| {one.methods} | `{one.path}` | {'404' if one.missing else f'501: {one.what}'} |" for one in LACKING)]


def section(title: str) -> list[str]:
    """The lines of the table below a heading of the page."""
    _, _, rest = PAGE.read_text().partition(f"\n## {title}\n")
    return re.findall(r"^\| (?!method|---|key).*$", rest.partition("\n## ")[0], re.MULTILINE)


def test_the_page_lists_every_operation_that_does_something() -> None:
    assert section("What there is") == offered_rows()


def test_the_page_lists_everything_that_is_not_offered() -> None:
    assert section("What there is not") == lacking_rows()


def test_the_page_lists_what_cannot_be_configured() -> None:
    assert section("Configuration") == [
        f"| `{key}` | `{str(value).lower() if isinstance(value, bool) else value}` |" for key, value in FIXED.items()
    ]


def test_every_first_operation_is_described() -> None:
    unnamed = {(method, re.sub(r"{\w+}", "{}", path)) for method, path in operations()}
    assert [(method, path) for method, path in FIRST if (method, re.sub(r"{\w+}", "{}", path)) not in unnamed] == []
