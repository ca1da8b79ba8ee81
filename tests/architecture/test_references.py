"""The reference pages tell what the code says: settings, configuration, errors. A row that fails here is given as it must be."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import msgspec

from roadstead import errors
from roadstead.access import configuration
from roadstead.access.audit import RESOURCES, Operation
from roadstead.access.configuration import DEFAULTS
from roadstead.apis.distribution.errors import TABLE
from roadstead.errors import RoadsteadError
from roadstead.settings import Settings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def error_row(kind: type[RoadsteadError]) -> str:
    """One line of the table of errors."""
    status, code = TABLE[kind]
    sentence = (kind.__doc__ or "").partition("\n")[0].replace("<", "\\<").replace("|", "\\|")
    return f"| {status} | `{code}` | `{kind.__name__}` | {sentence} |"


def error_classes() -> set[type[RoadsteadError]]:
    return {found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, RoadsteadError)}


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")] == []


def configuration_rows() -> list[str]:
    """The table of the configuration: each key's docstring says what it means."""
    values = next(one for one in ast.parse(inspect.getsource(configuration)).body if isinstance(one, ast.ClassDef) and one.name == "Values")
    rows = []
    for field, text in zip(values.body[1::2], values.body[2::2], strict=True):
        assert isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        assert isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        default = msgspec.json.encode(getattr(DEFAULTS, field.target.id)).decode().strip('"')
        rows.append(f"| `{field.target.id}` | `{default}` | {text.value.value!s} |")
    return rows


def test_every_key_of_the_configuration_is_on_its_page_and_no_other() -> None:
    page = (REFERENCE / "configuration.md").read_text()
    assert re.findall(r"^\| `\w+` \|.*$", page, re.MULTILINE) == configuration_rows()


def test_the_audit_logs_words_are_on_its_page_and_no_others() -> None:
    page = (REFERENCE.parent / "guide" / "audit.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", page.partition("| type |")[2], re.MULTILINE)
    assert told == [(kind.value, meaning) for kind, meaning in RESOURCES.items()]
    assert [row for row in page.splitlines() if row.startswith("| `action` |")] == [
        f"| `action` | {', '.join(f'`{one}`' for one in Operation)} |"
    ]


def test_the_distribution_doors_table_knows_every_error() -> None:
    assert set(TABLE) == error_classes()


def test_every_error_is_on_its_page_and_no_other() -> None:
    page = (REFERENCE / "errors.md").read_text()
    assert re.findall(r"^\| \d{3} \|.*$", page, re.MULTILINE) == [error_row(kind) for kind in TABLE]


def test_every_code_is_explained() -> None:
    explained = re.findall(r"^\* `([A-Z_]+)`:", (REFERENCE / "errors.md").read_text(), re.MULTILINE)
    assert sorted(explained) == sorted({code for _, code in TABLE.values()})
