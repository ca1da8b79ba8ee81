"""The records that rooms answer, for doors, which do not see the room of SQL."""

from __future__ import annotations

from roadstead.metadata.accounts import AccountRow
from roadstead.metadata.audit import AuditRow
from roadstead.metadata.credentials import CredentialRow
from roadstead.metadata.groups import GroupRow
from roadstead.metadata.growth import Sample
from roadstead.metadata.members import MemberRow
from roadstead.metadata.projects import ProjectDetails, ProjectRow
from roadstead.metadata.quota_listing import QuotaRow
from roadstead.metadata.repositories import RepositoryRow
from roadstead.metadata.robots import RobotRow
from roadstead.metadata.search import HitRow, UseRow
from roadstead.metadata.tags import TagChangeRow, TagDetail

__all__ = [
    "AccountRow",
    "AuditRow",
    "CredentialRow",
    "GroupRow",
    "HitRow",
    "MemberRow",
    "ProjectDetails",
    "ProjectRow",
    "QuotaRow",
    "RepositoryRow",
    "RobotRow",
    "Sample",
    "TagChangeRow",
    "TagDetail",
    "UseRow",
]
