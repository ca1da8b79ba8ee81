"""Parts of texts, found without regard to the case of ASCII letters; `%`, `_` and `/` are characters like all others."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_ESCAPE: Final = "/"


def contains(text: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Whether a part is in it."""
    return _Like(text, literal(f"%{_escaped(part)}%"))


def begins(text: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Whether it begins with a part."""
    return _Like(text, literal(f"{_escaped(part)}%"))


def ends(text: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Whether it ends with a part."""
    return _Like(text, literal(f"%{_escaped(part)}"))


class _Like(FunctionElement[bool]):
    """A text and a pattern. SQLite's LIKE asks for no case by itself, and SQLAlchemy's `icontains` has it fold every text all the same,
    which doubles the time of reading through many."""

    type = Boolean()
    name = "likeness"
    inherit_cache = True


@compiles(_Like)
def _written(element: _Like, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = element.clauses
    return compiler.process(text.ilike(pattern, escape=_ESCAPE), **options)


@compiles(_Like, "sqlite")
def _written_for_sqlite(element: _Like, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = element.clauses
    return compiler.process(text.like(pattern, escape=_ESCAPE), **options)


def _escaped(part: str) -> str:
    return re.sub(r"([%_/])", r"/\1", part)
