"""The registry as one value: every door and every job is given this."""

from __future__ import annotations

from roadstead.access.clock import Clock, system_clock
from roadstead.access.configuration import Configuration
from roadstead.content.store import ContentStore
from roadstead.metadata.database import Database
from roadstead.registry.artifacts import Artifacts
from roadstead.registry.blobs import Blobs
from roadstead.registry.configs import Configs
from roadstead.registry.copies import Copies
from roadstead.registry.derived import Derived
from roadstead.registry.image_signatures import ImageSignatures
from roadstead.registry.manifests import Manifests
from roadstead.registry.projects import Projects
from roadstead.registry.pulls import PullCounter
from roadstead.registry.quotas import Quotas
from roadstead.registry.referrers import Referrers
from roadstead.registry.repositories import Repositories
from roadstead.registry.rules import Rules
from roadstead.registry.seams import Seams
from roadstead.registry.search import Search
from roadstead.registry.sifs import Sifs
from roadstead.registry.statistics import Statistics
from roadstead.registry.tags import Tags
from roadstead.registry.trust import Trust
from roadstead.registry.uploads import Uploads


class Registry:
    """The nouns of a registry, wired together."""

    def __init__(
        self,
        database: Database,
        store: ContentStore,
        rules: Rules | None = None,
        seams: Seams | None = None,
        clock: Clock = system_clock,
        configuration: Configuration | None = None,
    ) -> None:
        rules, seams = rules or Rules(), seams or Seams()
        self.projects = Projects(database, clock, configuration)
        self.pulls = PullCounter(database, clock)
        self.repositories = Repositories(database, rules, clock, configuration)
        self.blobs = Blobs(database, store, self.repositories, rules, seams, clock)
        self.quotas = Quotas(database, clock)
        self.uploads = Uploads(database, store, self.repositories, self.blobs, self.quotas, clock)
        self.manifests = Manifests(database, self.repositories, self.pulls, rules, seams, clock)
        self.derived = Derived(database, store, self.blobs, clock)
        self.tags = Tags(database, self.repositories)
        self.artifacts = Artifacts(database, self.repositories, Configs(store))
        self.copies = Copies(database, self.repositories, self.blobs, self.manifests)
        self.statistics = Statistics(database)
        self.search = Search(database)
        self.trust = Trust(database, self.projects, clock)
        self.image_signatures = ImageSignatures(database, store, clock)
        self.sifs = Sifs(database, self.repositories, self.blobs, self.uploads, self.manifests, self.pulls)
        self.referrers = Referrers(database, self.repositories)
