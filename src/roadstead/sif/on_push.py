"""Conversions that begin when an image is pushed, where its project wants that.

Only what a tag points to is converted: what has no tag has no virtual tag, and the parts of an index come before it, by their digests.
Images become SIFs; a SIF becomes an image when somebody wants it, because few do, and each would be stored twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from roadstead.errors import InvalidManifest
from roadstead.metadata import derived, manifests, projects
from roadstead.oci import media_type as types
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, parse_manifest
from roadstead.registry.seams import PushedManifest
from roadstead.sif.conversions import Conversions
from roadstead.sif.forms import Form, form_of, parts_for
from roadstead.sif.wanted import ON_PUSH


class OnPush:
    """The registry's `PushFollower`."""

    def __init__(self, conversions: Conversions) -> None:
        self._conversions = conversions

    def tagged(self, connection: Connection, pushed: PushedManifest) -> None:
        """See `PushFollower.tagged`."""
        if form_of(pushed.manifest) is not Form.OCI and pushed.manifest.media_type not in types.INDEX_TYPES:
            return
        policy = projects.conversion_policy(connection, pushed.project_id)
        if policy is None or policy.when != "push":
            return
        for source in _images(connection, pushed, policy.platforms):
            wanted = self._conversions.wanted_in(pushed.project_id, pushed.repository_id, pushed.name, source, Form.SIF)
            found = derived.find(connection, pushed.repository_id, source, wanted.conversion)
            if found is None or not found.whole:
                self._conversions.begin(connection, wanted, ON_PUSH)


def _images(connection: Connection, pushed: PushedManifest, platforms: Sequence[str]) -> list[Digest]:
    """The image that was pushed, or the parts of an index that are images for the project's platforms."""
    if pushed.manifest.media_type not in types.INDEX_TYPES:
        return [pushed.digest]
    chosen = parts_for(platforms, pushed.manifest.children)
    parts = {child.digest: _parsed(manifests.content_by_digest(connection, pushed.repository_id, child.digest)) for child in chosen}
    return [digest for digest, manifest in parts.items() if manifest is not None and form_of(manifest) is Form.OCI]


def _parsed(found: tuple[str, bytes] | None) -> Manifest | None:
    if found is None:
        return None
    try:
        return parse_manifest(found[1], found[0])
    except InvalidManifest:
        return None
