"""The configuration that administrators set while the registry runs, in Harbor's form: each key with its value."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from roadstead.access.configuration import Values
from roadstead.access.robots import PREFIX as ROBOT_PREFIX
from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.wire import NOT_OFFERED, Answer, Nouns
from roadstead.errors import NotOffered

router = Nouns(tags=["configurations"])

FIXED: Final[dict[str, str | int | bool]] = {
    "auth_mode": "db_auth",
    "primary_auth_mode": False,
    "self_registration": False,
    "read_only": False,
    "robot_name_prefix": ROBOT_PREFIX,
    "notification_enable": False,
    "quota_per_project_enable": True,
    "scanner_skip_update_pulltime": False,
    "skip_audit_log_database": False,
    "banner_message": "",
    "audit_log_forward_endpoint": "",
}
"""What Harbor's clients ask for and nobody can change here; whoever sets it to what it is anyhow is not refused."""


class Item(Answer):
    """A key's value, and whether it can be set."""

    value: str | int | bool
    editable: bool


@router.get("/configurations")
async def get_configurations(call: Calling) -> dict[str, Item]:
    """Every key, for administrators."""
    values = await call.access.configuration.get(call.actor)
    fixed = {key: Item(value=value, editable=False) for key, value in FIXED.items()}
    return fixed | {key: Item(value=value, editable=True) for key, value in _changeable(values).items()}


@router.put("/configurations", responses=NOT_OFFERED)
async def change_configurations(call: Calling, wanted: dict[str, Any]) -> None:
    """Set the keys that are named, and leave the others and those that are null."""
    ours = set(Values.__struct_fields__) - set(FIXED)
    said = {key: value for key, value in wanted.items() if value is not None}
    changes = {key: value for key, value in said.items() if key in ours}
    rest = {key: value for key, value in said.items() if key not in ours and value != FIXED.get(key)}
    await call.access.configuration.get(call.actor)
    for key in rest:
        raise NotOffered(f"The configuration {key[:80]!r} is not one that this registry lets be set so.")
    await call.access.configuration.change(call.actor, changes)


def _changeable(values: Values) -> dict[str, str | int | bool]:
    return {key: value for key, value in msgspec.to_builtins(values).items() if key not in FIXED}
