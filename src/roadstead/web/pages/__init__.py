"""The pages, a module for each noun. A new module is added to `MODULES`, in which order its routes are tried."""

from __future__ import annotations

from typing import Final

from roadstead.web.pages import (
    artifacts,
    clusters,
    groups,
    guides,
    home,
    jobs,
    login,
    members,
    policies,
    profile,
    projects,
    repositories,
    robots,
    sources,
    system,
    tokens,
    users,
)
from roadstead.web.routes import Pages

MODULES: Final[tuple[Pages, ...]] = (
    home.pages,
    login.pages,
    projects.pages,
    members.pages,
    robots.pages,
    profile.pages,
    tokens.pages,
    policies.pages,
    artifacts.pages,  # before that of their repository, which has the shorter path
    repositories.pages,
    jobs.pages,
    users.pages,
    groups.pages,
    sources.pages,
    system.pages,
    clusters.pages,
    guides.pages,
)
