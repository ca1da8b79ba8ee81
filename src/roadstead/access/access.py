"""Who may, as one value: every door and every command is given this."""

from __future__ import annotations

from roadstead.access.accounts import Accounts
from roadstead.access.audit import Audit
from roadstead.access.clock import Clock, system_clock
from roadstead.access.configuration import Configuration
from roadstead.access.credentials import Credentials
from roadstead.access.groups import Groups
from roadstead.access.identities import Identities
from roadstead.access.limits import RateLimits
from roadstead.access.logins import Logins
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.access.people import People
from roadstead.access.robots import Robots
from roadstead.access.sessions import Sessions
from roadstead.access.sources import Sources
from roadstead.access.throttle import Throttle
from roadstead.access.vault import Vault
from roadstead.metadata.database import Database


class Access:
    """The nouns of this room, wired together."""

    def __init__(self, database: Database, vault: Vault, *, create_projects_on_push: bool = False, clock: Clock = system_clock) -> None:
        self.configuration = Configuration(database, clock)
        self.limits = RateLimits(database, self.configuration, clock)
        self.audit = Audit(database, clock)
        self.throttle = Throttle(database, vault, clock)
        self.identities = Identities(database, clock)
        self.accounts = Accounts(
            database,
            vault,
            create_projects_on_push=create_projects_on_push,
            clock=clock,
            audit=self.audit,
            throttle=self.throttle,
            logins=Logins(database, vault, self.identities),
        )
        self.people = People(database, clock, self.throttle, self.audit)
        self.credentials = Credentials(database, clock)
        self.openpgp_keys = OpenPgpKeys(database, clock)
        self.robots = Robots(database, clock, self.configuration)
        self.groups = Groups(database, vault, clock)
        self.sources = Sources(database, vault, self.identities, clock)
        self.sessions = Sessions(database, self.accounts, self.configuration, clock)
