"""A person's credentials for tools: the CLI secret, which Harbor has, and personal access tokens, which it has not."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import Path

from roadstead.access.actor import Level
from roadstead.apis.harbor.call import Call, Calling
from roadstead.apis.harbor.paging import Paged
from roadstead.apis.harbor.wire import Answer, Body, Id, Moment, Nouns
from roadstead.errors import Denied, InvalidAccount, NotFound
from roadstead.registry.rows import CredentialRow

router = Nouns(tags=["tokens"])

UserRef = Annotated[str, Path(pattern="^(current|[1-9][0-9]{0,17})$", description="An account's id, or `current` for one's own.")]


class NewToken(Body):
    """A personal access token to be made. `duration` is in days, -1 is for ever; without `projects` (names) it is for all."""

    name: str
    level: Literal["read", "write", "delete", "admin"] = "read"
    duration: int = -1
    projects: list[str] | None = None


class Token(Answer):
    """A credential; `hint` is the beginning of its secret."""

    id: int
    name: str
    hint: str
    level: str
    project_ids: list[int] | None = None
    creation_time: Moment
    expires_at: Moment | None = None
    last_used_at: Moment | None = None
    last_used_from: str | None = None


class TokenCreated(Token):
    """A new token, with its secret, which is shown this once."""

    secret: str


class OIDCCliSecretReq(Body):
    """Harbor lets people choose the secret; here it is always made, so `secret` is left out or empty."""

    secret: str | None = None


class Secret(Answer):
    """A secret, which is shown this once."""

    secret: str


@router.get("/users/{user}/tokens")
async def list_tokens(call: Calling, user: UserRef, paging: Paged) -> list[Token]:
    """Somebody's personal access tokens that are not revoked, newest first."""
    rows = await call.access.credentials.tokens(call.actor, account_of(call, user))
    return [Token(**_fields(row)) for row in paging.cut(call, rows)]


@router.post("/users/{user}/tokens", status_code=201)
async def add_token(call: Calling, user: UserRef, new: NewToken) -> TokenCreated:
    """Make a token."""
    account_id = account_of(call, user)
    row, secret = await call.access.credentials.add_token(
        call.actor, account_id, new.name, Level(new.level), project_names=new.projects, lifetime=_lifetime(new.duration)
    )
    call.created(f"/users/{account_id}/tokens/{row.id}")
    return TokenCreated(**_fields(row), secret=secret)


@router.delete("/users/{user}/tokens/{token_id}")
async def revoke_token(call: Calling, user: UserRef, token_id: Id) -> None:
    """End a token at its next use."""
    await call.access.credentials.revoke(call.actor, account_of(call, user), token_id)


@router.get("/users/{user}/cli_secret")
async def get_cli_secret(call: Calling, user: UserRef) -> Token:
    """Whether there is a CLI secret, and when it was used; not the secret."""
    row = await call.access.credentials.cli_secret(call.actor, account_of(call, user))
    if row is None:
        raise NotFound("No CLI secret was made yet.")
    return Token(**_fields(row))


@router.put("/users/{user}/cli_secret")
async def make_cli_secret(call: Calling, user: UserRef, wanted: OIDCCliSecretReq | None = None) -> Secret:
    """Make a new CLI secret, and end the old one."""
    if wanted is not None and wanted.secret:
        raise InvalidAccount(
            "Secrets are made by the registry, so that nobody can guess them: send an empty one, and take it from the answer."
        )
    return Secret(secret=await call.access.credentials.make_cli_secret(call.actor, account_of(call, user)))


def account_of(call: Call, user: str) -> int:
    """The account that a path names. Raises Unauthenticated, Denied."""
    call.require_login()
    if user != "current":
        return int(user)
    if call.actor.account_id is None or call.actor.robot is not None:
        raise Denied("A robot has no tokens but its own secret.")
    return call.actor.account_id


def _lifetime(days: int) -> timedelta | None:
    if days == -1:
        return None
    if not 0 < days < 100_000:
        raise InvalidAccount("A duration is a number of days from 1, or -1 for ever.")
    return timedelta(days=days)


def _fields(row: CredentialRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "hint": row.hint,
        "level": row.level,
        "project_ids": None if row.project_ids is None else list(row.project_ids),
        "creation_time": row.created_at,
        "expires_at": row.expires_at,
        "last_used_at": row.last_used_at,
        "last_used_from": row.last_used_from,
    }
