"""What is asked of the audit log on its pages: by whom, what, and to what, or in which repository; of the whole log, or of a project's."""

from __future__ import annotations

from typing import Any, Final

from roadstead.access.audit import COUNTED, Operation, Wanted
from roadstead.web.call import Call

_SIZE: Final = 50


async def entries(call: Call, project: str | None = None) -> dict[str, Any]:
    """What the template `audit.html` needs, as the query asks for it. Raises what the policy raises."""
    asked = {field: call.query.get(field, "").strip() for field in ("who", "what", "which", "of")}
    wanted, page = Wanted(*(value or None for value in asked.values())), call.paging(_SIZE)
    audit = call.rooms.access.audit
    looked = audit.find(call.actor, wanted, page) if project is None else audit.find_in_project(call.actor, project, wanted, page)
    rows, total = await looked
    shown = {"entries": rows, "pager": call.pager(min(total, COUNTED), size=_SIZE), "many": total > COUNTED, "counted": COUNTED}
    return {**shown, "operations": [str(one) for one in Operation], **asked}
