"""Where somebody is logged in, and by which identities of other systems they can: neither is in Harbor."""

from __future__ import annotations

from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.paging import Paged
from roadstead.apis.harbor.tokens import UserRef, account_of
from roadstead.apis.harbor.wire import Answer, Id, Moment, Nouns

router = Nouns(tags=["sessions"])


class Session(Answer):
    """A browser's session; `current` is the one that asks."""

    id: int
    client: str
    creation_time: Moment
    expires_at: Moment | None = None
    last_used_at: Moment | None = None
    last_used_from: str | None = None
    current: bool


class Ended(Answer):
    """How many sessions were ended."""

    ended: int


class Identity(Answer):
    """Who somebody is at a login source."""

    id: int
    source: str
    name: str
    linked_at: Moment
    last_login_at: Moment | None = None


@router.get("/users/{user}/sessions")
async def list_sessions(call: Calling, user: UserRef, paging: Paged) -> list[Session]:
    """The sessions that have not ended, newest first."""
    rows = await call.access.sessions.list(call.actor, account_of(call, user))
    return [
        Session(
            id=row.id,
            client=row.name,
            creation_time=row.created_at,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
            last_used_from=row.last_used_from,
            current=row.id == call.actor.credential_id,
        )
        for row in paging.cut(call, rows)
    ]


@router.delete("/users/{user}/sessions")
async def end_sessions(call: Calling, user: UserRef) -> Ended:
    """Log somebody out everywhere."""
    return Ended(ended=await call.access.sessions.end_all(call.actor, account_of(call, user)))


@router.delete("/users/{user}/sessions/{session_id}")
async def end_session(call: Calling, user: UserRef, session_id: Id) -> None:
    """End one session at its next request."""
    await call.access.sessions.end(call.actor, account_of(call, user), session_id)


@router.get("/users/{user}/identities")
async def list_identities(call: Calling, user: UserRef, paging: Paged) -> list[Identity]:
    """By which identities somebody can log in."""
    rows = await call.access.identities.list(call.actor, account_of(call, user))
    return [
        Identity(id=row.id, source=row.source, name=row.name, linked_at=row.linked_at, last_login_at=row.last_login_at)
        for row in paging.cut(call, rows)
    ]


@router.delete("/users/{user}/identities/{identity_id}")
async def unlink_identity(call: Calling, user: UserRef, identity_id: Id) -> None:
    """Let an identity log in no more."""
    await call.access.identities.unlink(call.actor, account_of(call, user), identity_id)
