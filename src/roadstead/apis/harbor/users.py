"""Accounts of people."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query

from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.paging import Paged
from roadstead.apis.harbor.wire import Answer, Body, Id, Moment, Nouns
from roadstead.errors import Denied, InvalidAccount, Unauthenticated
from roadstead.registry.listing import Filter, Match
from roadstead.registry.rows import AccountRow

router = Nouns(tags=["users"])

FIELDS: Final = {
    "user_id": "id",
    "username": "name",
    "email": "email",
    "realname": "real_name",
    "comment": "comment",
    "sysadmin_flag": "is_admin",
    "creation_time": "created_at",
    "source": "source",
}


class UserResp(Answer):
    """An account. `source` and `disabled` are ours: where it proves who it is, and whether it may not."""

    user_id: int
    username: str
    email: str
    realname: str
    comment: str
    sysadmin_flag: bool
    admin_role_in_auth: bool = False
    creation_time: Moment
    source: str
    disabled: bool


class UserSearchRespItem(Answer):
    """What everybody may know of an account."""

    user_id: int
    username: str


class UserProfile(Body):
    """How an account is described."""

    email: str | None = None
    realname: str | None = None
    comment: str | None = None


class UserCreationReq(UserProfile):
    """An account to be made."""

    username: str
    password: str


class UserSysAdminFlag(Body):
    """Whether somebody is to be an administrator."""

    sysadmin_flag: bool


class Disabled(Body):
    """Whether somebody is to be kept out."""

    disabled: bool


class PasswordReq(Body):
    """A new password; one's own with the old one. `end_sessions` is ours: whether every token and session of the account ends too."""

    new_password: str
    old_password: str | None = None
    end_sessions: bool = False


@router.get("/users")
async def list_users(
    call: Calling,
    paging: Paged,
    username: Annotated[str | None, Query(description="A part of the name.")] = None,
    email: Annotated[str | None, Query(description="A part of the address.")] = None,
) -> list[UserResp]:
    """All accounts, for administrators."""
    parts = {"name": username, "email": email}
    more = [Filter(field, Match.CONTAINS, (part,)) for field, part in parts.items() if part]
    rows, total = await call.access.people.page(call.actor, paging.listing(FIELDS, *more))
    paging.tell(call, total)
    return [user(row) for row in rows]


@router.post("/users", status_code=201)
async def add_user(call: Calling, new: UserCreationReq) -> None:
    """Make an account with a password here."""
    made = await call.access.people.add(
        call.actor, new.username, new.password, email=new.email, real_name=new.realname, comment=new.comment
    )
    call.created(f"/users/{made.id}")


@router.get("/users/current")
async def current_user(call: Calling) -> UserResp:
    """Who is asking."""
    call.require_login()
    if call.actor.account_id is None or call.actor.robot is not None:
        raise Denied("A robot is no person; ask for it at /robots.")
    return user(await call.access.people.get(call.actor, call.actor.account_id))


@router.get("/users/search")
async def search_users(call: Calling, paging: Paged, username: str) -> list[UserSearchRespItem]:
    """Accounts by a part of the name, for everybody who is logged in."""
    rows, total = await call.access.people.search(call.actor, username, paging.listing())
    paging.tell(call, total)
    return [UserSearchRespItem(user_id=row.id, username=row.name) for row in rows]


@router.get("/users/{user_id}")
async def get_user(call: Calling, user_id: Id) -> UserResp:
    """One account: one's own, or any for administrators."""
    return user(await call.access.people.get(call.actor, user_id))


@router.put("/users/{user_id}")
async def change_user(call: Calling, user_id: Id, profile: UserProfile) -> None:
    """Change how an account is described."""
    await call.access.people.change_profile(call.actor, user_id, email=profile.email, real_name=profile.realname, comment=profile.comment)


@router.delete("/users/{user_id}")
async def remove_user(call: Calling, user_id: Id) -> None:
    """End an account with all its credentials."""
    await call.access.people.remove(call.actor, user_id)


@router.put("/users/{user_id}/sysadmin")
async def set_admin(call: Calling, user_id: Id, flag: UserSysAdminFlag) -> None:
    """Make somebody an administrator, or no longer."""
    await call.access.people.set_admin(call.actor, user_id, flag.sysadmin_flag)


@router.put("/users/{user_id}/disabled")
async def set_disabled(call: Calling, user_id: Id, flag: Disabled) -> None:
    """Keep somebody out, or let them in again."""
    await call.access.people.set_disabled(call.actor, user_id, flag.disabled)


@router.put("/users/{user_id}/password")
async def set_password(call: Calling, user_id: Id, wanted: PasswordReq) -> None:
    """Change a password: one's own by the old one, anybody's as an administrator."""
    call.require_login()
    if wanted.new_password == wanted.old_password:
        raise InvalidAccount("The new password is the old one.")
    try:
        await call.access.people.set_password(
            call.actor, user_id, wanted.new_password, old=wanted.old_password, end_sessions=wanted.end_sessions
        )
    except Unauthenticated as error:
        # Who asks is known; a 401 would make a browser or client drop credentials that are good.
        raise Denied(error.message) from error


def user(row: AccountRow) -> UserResp:
    """An account as this dialect writes it."""
    return UserResp(
        user_id=row.id,
        username=row.name,
        email=row.email or "",
        realname=row.real_name or "",
        comment=row.comment or "",
        sysadmin_flag=row.is_admin,
        creation_time=row.created_at,
        source=row.source,
        disabled=row.disabled_at is not None,
    )
