"""What is asked of the audit log on the pages that show it: by whom, what was done, and to what, or in which repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from roadstead.access.audit import Operation
from roadstead.registry.listing import Filter, Listing, Match
from roadstead.registry.rows import AuditRow
from roadstead.web.call import Call

_SIZE: Final = 50
_FIELDS: Final = {
    "who": ("actor", Match.CONTAINS),
    "what": ("action", Match.EQUAL),
    "which": ("resource", Match.CONTAINS),
    "of": ("repository", Match.EQUAL),
}
"""A field of the form → of the log, and how it is compared."""


def asked(call: Call) -> Listing:
    """The page of the log that the query asks for."""
    filters = [Filter(name, match, (call.query[field],)) for field, (name, match) in _FIELDS.items() if call.query.get(field)]
    return call.listing(*filters, size=_SIZE)


def shown(call: Call, rows: Sequence[AuditRow], total: int) -> dict[str, Any]:
    """What the template `audit.html` needs."""
    wanted = {field: call.query.get(field, "") for field in _FIELDS}
    return {"entries": rows, "pager": call.pager(total, size=_SIZE), "operations": [str(one) for one in Operation], **wanted}
