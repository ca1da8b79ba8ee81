"""What every module of the package has, and what the error tree says of itself."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from roadstead import errors
from roadstead.errors import RoadsteadError

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "src" / "roadstead").rglob("*.py"))


def statements(path: Path) -> list[ast.stmt]:
    """The module's statements without its docstring."""
    body = ast.parse(path.read_text()).body
    return body[1:] if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) else body


def postpones_annotations(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__" and statement.names[0].name == "annotations"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_annotations_are_postponed(path: Path) -> None:
    body = statements(path)
    assert not body or postpones_annotations(body[0])


def drawn_tree() -> dict[str, str]:
    """Class → parent, as drawn in the docstring of `errors`: four columns of drawing for each level."""
    ancestors: list[str] = []
    parents: dict[str, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if node := re.match(r"^ {4}([│├└─ ]*)([A-Z]\w+)(?: {2,}.*)?$", line):
            level = len(node[1]) // 4
            ancestors[level:] = [node[2]]
            parents[node[2]] = ancestors[level - 1] if level else ""
    return parents


def class_tree() -> dict[str, str]:
    """Class → parent, as the classes are."""
    classes = [found for _, found in inspect.getmembers(errors, inspect.isclass) if found.__module__ == errors.__name__]
    return {found.__name__: found.__base__.__name__ if found is not RoadsteadError and found.__base__ else "" for found in classes}


def test_the_drawing_of_the_error_tree_is_the_tree() -> None:
    assert drawn_tree() == class_tree()


def test_every_error_has_a_sentence_for_its_reader() -> None:
    sentences = {name: (getattr(errors, name).__doc__ or "").partition("\n")[0] for name in class_tree()}
    assert [name for name, sentence in sentences.items() if not re.fullmatch(r"[A-Z].+\.", sentence)] == []
