"""What a site decides about how its registry behaves."""

from __future__ import annotations

from datetime import timedelta

import msgspec


class Rules(msgspec.Struct, frozen=True):
    """The site's choices. All have defaults that users of other registries expect."""

    accept_absent_content: bool = False
    """Whether a manifest may name layers, configs and manifests that are not in its repository (sparse images)."""

    create_projects_on_push: bool = False
    """Whether an administrator's push makes a project that does not exist; other accounts' pushes never do."""

    upload_lifetime: timedelta = timedelta(days=1)
    """How long an upload may rest before it expires."""

    link_grace: timedelta = timedelta(days=1)
    """How long a blob that no manifest refers to stays after it was last pushed, mounted or asked for by HEAD."""

    content_grace: timedelta = timedelta(hours=25)
    """How long bytes stay after their last link went: longer than the longest presigned URL (content.opening.LONGEST_VALID)."""

    job_retention: timedelta = timedelta(days=14)
    """How long a job that has ended can still be looked up, with its log."""
