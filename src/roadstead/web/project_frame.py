"""What stands above every page of a project: its name, its tabs, and what the reader may do in it."""

from __future__ import annotations

import msgspec

from roadstead.access.actor import Action
from roadstead.registry.rows import ProjectDetails
from roadstead.web.call import Call

_TABS: tuple[tuple[str, str, Action], ...] = (
    ("", "Repositories", Action.SEE),
    ("/members", "Members", Action.SEE_MEMBERS),
    ("/robots", "Robots", Action.SEE_ROBOTS),
    ("/policies", "Policies", Action.SEE),
    ("/audit", "Audit", Action.SEE_AUDIT),
    ("/settings", "Settings", Action.CONFIGURE),
)


class ProjectFrame(msgspec.Struct, frozen=True):
    """A project as its pages show it. `tabs` are addresses with their labels, as far as the reader may open them."""

    row: ProjectDetails
    allowed: frozenset[Action]
    tabs: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """The project's."""
        return self.row.name

    @property
    def address(self) -> str:
        """Of its first page."""
        return f"/projects/{self.row.name}"

    def may(self, action: str) -> bool:
        """Whether the reader may do that in the project."""
        return action in self.allowed


async def project_frame(call: Call, name: str | None = None) -> ProjectFrame:
    """The frame of that project, or of the one in the address. Raises as `Projects.get`, and does not tell whether there is one."""
    name = name or call.parameters["project"]
    row = await call.rooms.registry.projects.details(call.actor, name)
    allowed = await call.rooms.registry.projects.permitted(call.actor, name)
    tabs = tuple((f"/projects/{row.name}{end}", label) for end, label, action in _TABS if action in allowed)
    return ProjectFrame(row, allowed, tabs)
