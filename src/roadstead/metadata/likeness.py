"""Parts of texts, found without regard to the case of ASCII letters; `%`, `_` and `/` are characters like all others."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

ESCAPE: Final = "/"
"""Before a character of a pattern that is to be no wildcard."""


def contains(text: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Whether a part is in it."""
    return _Like(text, literal(f"%{escaped(part)}%"))


def begins(text: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Whether it begins with a part."""
    return _Like(text, literal(f"{escaped(part)}%"))


def ends(text: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Whether it ends with a part."""
    return _Like(text, literal(f"%{escaped(part)}"))


class _Like(FunctionElement[bool]):
    """A text and a pattern. SQLite's LIKE asks for no case by itself, and SQLAlchemy's `icontains` has it fold every text all the same,
    which doubles the time of reading through many."""

    type = Boolean()
    name = "likeness"
    inherit_cache = True


@compiles(_Like)
def _written(element: _Like, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = element.clauses
    return compiler.process(text.ilike(pattern, escape=ESCAPE), **options)


@compiles(_Like, "sqlite")
def _written_for_sqlite(element: _Like, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = element.clauses
    return compiler.process(text.like(pattern, escape=ESCAPE), **options)


def escaped(part: str) -> str:
    """A part, to be put into a pattern."""
    return re.sub(r"([%_/])", r"/\1", part)
