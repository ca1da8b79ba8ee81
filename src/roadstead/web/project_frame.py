"""What stands above every page of a project: its name, its tabs, and what the reader may do in it."""

from __future__ import annotations

import msgspec

from roadstead.access.actor import Action
from roadstead.oci.reference import RepositoryName
from roadstead.registry.rows import ProjectDetails
from roadstead.web.call import Call

_TABS: tuple[tuple[str, str, Action], ...] = (
    ("", "Repositories", Action.SEE),
    ("/members", "Members", Action.SEE_MEMBERS),
    ("/robots", "Robots", Action.SEE_ROBOTS),
    ("/policies", "Policies", Action.SEE),
    ("/jobs", "Jobs", Action.CONFIGURE),
    ("/audit", "Audit", Action.SEE_AUDIT),
    ("/settings", "Settings", Action.CONFIGURE),
)


class ProjectFrame(msgspec.Struct, frozen=True):
    """A project as its pages show it. `tabs` are addresses with their labels, as far as the reader may open them.

    `here` is what the reader may do in the repository that a page is about, which may be more than in the project.
    """

    row: ProjectDetails
    allowed: frozenset[Action]
    tabs: tuple[tuple[str, str], ...]
    here: frozenset[Action] = frozenset()

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

    def may_here(self, action: str) -> bool:
        """Whether the reader may do that in the repository."""
        return action in self.here


async def project_frame(call: Call, name: str | None = None) -> ProjectFrame:
    """The frame of that project, or of the one in the address. Raises as `Projects.get`, and does not tell whether there is one."""
    name = name or call.parameters["project"]
    row = await call.rooms.registry.projects.details(call.actor, name)
    allowed = await call.rooms.registry.projects.permitted(call.actor, name)
    tabs = tuple((f"/projects/{row.name}{end}", label) for end, label, action in _TABS if action in allowed)
    return ProjectFrame(row, allowed, tabs)


async def repository_frame(call: Call, name: RepositoryName) -> ProjectFrame:
    """The frame of a repository's project, with what the reader may do in the repository. Raises as `project_frame`."""
    frame = await project_frame(call, name.project)
    return msgspec.structs.replace(frame, here=await call.rooms.registry.repositories.permitted(call.actor, name))


def repository_tabs(name: RepositoryName) -> list[tuple[str, str]]:
    """The addresses of a repository's pages with their labels."""
    address = f"/repositories/{name}"
    return [(address, "Artifacts"), (f"{address}/-/tags", "Tags"), (f"{address}/-/history", "History")]
