"""What pages may ask: every room that a handler reaches, each of which asks the policy itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from roadstead.access.access import Access
from roadstead.access.clock import Clock, system_clock
from roadstead.registry.registry import Registry
from roadstead.serving.live import LiveStreams
from roadstead.sif.clusters import Clusters
from roadstead.sif.compatible import Compatibility
from roadstead.sif.shown import ShownConversions
from roadstead.sif.signed import ShownSignatures
from roadstead.upkeep.jobs import Jobs


class Rooms(msgspec.Struct, frozen=True):
    """Wired by `app`. `checks` are those of the health pages, by what they check: they raise where it does not answer.
    `own_authority` says whether the registry's certificate is of an authority of its own, which clients must be told to trust;
    `streams` is ended before the process stops.
    """

    access: Access
    registry: Registry
    jobs: Jobs
    conversions: ShownConversions
    signatures: ShownSignatures
    compatibility: Compatibility
    clusters: Clusters
    checks: Mapping[str, Callable[[], Awaitable[object]]] = {}
    clock: Clock = system_clock
    own_authority: bool = False
    streams: LiveStreams = msgspec.field(default_factory=LiveStreams)
