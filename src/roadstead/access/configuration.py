"""What an administrator sets while the registry runs, the same for all replicas; each key is obeyed by some room.

A key that Harbor knows has Harbor's name and unit. -1 is: no limit. What only whoever starts the server may decide is in `settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
import structlog
from msgspec import Meta
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock, system_clock
from roadstead.access.policy import Creation
from roadstead.errors import InvalidInput
from roadstead.metadata import audit, configuration
from roadstead.metadata.database import Database

log = structlog.get_logger()

UNLIMITED: Final = -1
_FRESH: Final = timedelta(seconds=1)

# The largest number that a JSON reader of any language, and a BIGINT, still holds exactly.
_Count = Annotated[int, Meta(ge=1, le=2**53)]
_Limit = Annotated[int, Meta(ge=UNLIMITED, le=2**53)]
_Rate = Annotated[int, Meta(ge=UNLIMITED, le=1_000_000)]
_Days = Annotated[int, Meta(ge=UNLIMITED, le=3650)]
_Minutes = Annotated[int, Meta(ge=1, le=60 * 24 * 365)]


class Values(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every key, and its default."""

    project_creation_restriction: Creation = Creation.ADMIN_ONLY
    """Who makes projects: administrators only, or everybody who has an account."""

    self_registration: Literal[False] = False
    """Whether people make accounts for themselves. They do not, and that cannot be changed; Harbor's clients ask."""

    storage_per_project: _Limit = UNLIMITED
    """Bytes that a new project may use, unless its maker is told otherwise."""

    session_timeout: _Minutes = 60
    """Minutes without a request after which a browser's session ends."""

    session_lifetime: _Minutes = 60 * 24
    """Minutes after the login at which a browser's session ends, used or not."""

    robot_token_duration: _Days = 30
    """Days that a robot lives for which none were said."""

    pull_window_seconds: Annotated[int, Meta(ge=60, le=86400 * 31)] = 6 * 3600
    """Seconds in which pulls are counted together."""

    pull_limit_per_account: _Limit = UNLIMITED
    """Pulls in one window of one account."""

    pull_limit_per_address: _Limit = UNLIMITED
    """Pulls in one window of all at one address who are not logged in."""

    pull_limit_per_project: _Limit = UNLIMITED
    """Pulls in one window from one project, whoever pulls."""

    requests_per_second_per_account: _Rate = UNLIMITED
    """Requests a second of one account."""

    requests_per_second_per_address: _Rate = UNLIMITED
    """Requests a second of all at one address who are not logged in."""

    audit_log_retention_hours: _Limit = UNLIMITED
    """Hours after which entries of the audit log are removed."""


DEFAULTS: Final = Values()


class Configuration:
    """See the module's docstring. What is changed on one replica holds within a second on all."""

    def __init__(self, database: Database, clock: Clock = system_clock) -> None:
        self._database = database
        self._clock = clock
        self._known = DEFAULTS
        self._read_at: datetime | None = None

    async def get(self, actor: Actor) -> Values:
        """The present values, for administrators."""
        policy.require_on_system(actor, Action.ADMINISTER)
        return await self._read()

    async def change(self, actor: Actor, wanted: Mapping[str, object]) -> Values:
        """Set what is named and leave the rest; None is the default again. Returns the new values.

        Raises InvalidInput, and changes nothing, for a key or a value that makes no sense.
        """
        policy.require_on_system(actor, Action.ADMINISTER)
        unknown = set(wanted) - set(Values.__struct_fields__)
        if unknown:
            raise InvalidInput(f"There is no key {min(unknown)!r} in the configuration.")
        checked = _check({key: value for key, value in wanted.items() if value is not None})
        stored = {key: None if wanted[key] is None else msgspec.json.encode(getattr(checked, key)).decode() for key in wanted}
        now = self._clock()

        def work(connection: Connection) -> None:
            configuration.change(connection, stored, now)
            for key, value in stored.items():
                detail = "the default" if value is None else value
                audit.add(connection, audited(actor, now, Operation.UPDATE, ResourceType.CONFIGURATION, key, detail=detail))

        await self._database.write(work)
        return await self._read()

    async def present(self) -> Values:
        """The values, for rooms to obey: those of a second ago at most, so that whoever asks often need not care."""
        now = self._clock()
        if self._read_at is None or not self._read_at <= now < self._read_at + _FRESH:
            await self._read()
        return self._known

    async def _read(self) -> Values:
        now = self._clock()
        self._known = _load(await self._database.read(configuration.stored))
        self._read_at = now
        return self._known


def _check(wanted: Mapping[str, object]) -> Values:
    try:
        values = msgspec.convert(wanted, Values)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"The configuration cannot be changed so: {error}.") from error
    if values.robot_token_duration == 0:
        raise InvalidInput("robot_token_duration is a number of days from 1, or -1 for ever.")
    if 0 in (values.requests_per_second_per_account, values.requests_per_second_per_address):
        raise InvalidInput("requests_per_second_per_account and requests_per_second_per_address are 1 or more, or -1 for no limit.")
    return values


def _load(stored: Mapping[str, str]) -> Values:
    """The values from what is stored. What this version does not know or accept has its default: another version may have written it."""
    values: dict[str, object] = {}
    for key in Values.__struct_fields__:
        if key in stored:
            try:
                values[key] = getattr(msgspec.convert({key: msgspec.json.decode(stored[key])}, Values), key)
            except msgspec.DecodeError:
                log.warning("configuration ignored", key=key, value=stored[key])
    return Values(**values)  # type: ignore[arg-type]
