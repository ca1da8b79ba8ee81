"""Login sources: directories and OpenID providers, in the order in which they are asked. Secrets go in by a form, and never come out."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from roadstead.access.person import Check
from roadstead.access.source_settings import LdapSettings, OidcSettings, SourceSettings, decode
from roadstead.access.sources import Source
from roadstead.errors import InvalidInput, RoadsteadError
from roadstead.serving.response import Response
from roadstead.web.call import MISTAKES, Call
from roadstead.web.routes import Pages

pages = Pages()

_HERE: Final = "/admin/sources"
_KINDS: Final[dict[str, type[SourceSettings]]] = {"ldap": LdapSettings, "oidc": OidcSettings}


class Field(msgspec.Struct, frozen=True):
    """A field of the form: the setting's name, what it is called, what is said of it, how it is asked for, and what it is by itself.

    `widget` is "text", "lines", "flag" or "choice" (one of `choices`).
    """

    name: str
    label: str
    hint: str = ""
    widget: str = "text"
    choices: tuple[str, ...] = ()
    needed: bool = False


_TLS: Final = (
    Field("ca", "Private authority", "Its certificates in PEM; empty: those that the system trusts.", "lines"),
    Field("verify", "Verify the certificate", widget="flag"),
    Field("plain", "Let passwords travel unencrypted", widget="flag"),
)
_PEOPLE: Final = (
    Field("onboarding", "Who logs in for the first time gets an account", widget="flag"),
    Field("timeout_seconds", "Seconds to wait for an answer"),
)
FIELDS: Final[dict[str, tuple[tuple[Field, ...], tuple[Field, ...]]]] = {
    "ldap": (
        (
            Field("url", "Address", "ldaps://host, or ldap://host with StartTLS.", needed=True),
            Field("start_tls", "StartTLS: encrypt a connection to ldap://", widget="flag"),
            Field("base_dn", "Where people are", "A DN, as in ou=people,dc=example,dc=org.", needed=True),
            Field("bind_dn", "Account that searches", "Its DN; empty: anonymously."),
            Field("group_base_dn", "Where groups are", "A DN; empty: it has no groups."),
            Field("admin_group", "Group of administrators", "The DN of the group whose people are administrators here."),
        ),
        (
            Field("user_filter", "Filter of people", "{name} is what was typed at the login.", needed=True),
            Field("name_attribute", "Attribute of the user name", needed=True),
            Field("email_attribute", "Attribute of the address"),
            Field("real_name_attribute", "Attribute of the name"),
            Field("subject_attribute", "Attribute that never changes", "Empty: the DN."),
            Field("group_filter", "Filter of groups", needed=True),
            Field("group_member_attribute", "Attribute of a group's members", needed=True),
            Field("group_member_is", "Members are listed by", widget="choice", choices=("dn", "name")),
            Field(
                "nesting",
                "Groups in groups",
                "none, walk upwards, or let the directory follow the chain.",
                "choice",
                ("none", "walk", "chain"),
            ),
            *_TLS,
            *_PEOPLE,
        ),
    ),
    "oidc": (
        (
            Field("issuer", "Issuer", "Exactly as the provider calls itself: https://host/….", needed=True),
            Field("client_id", "Client id", "What the provider knows this registry by.", needed=True),
            Field("groups_claim", "Claim of the groups"),
            Field("admin_group", "Group of administrators", "The value of that claim which makes administrators here."),
        ),
        (
            Field("scopes", "Scopes", "Separated by blanks; openid is one of them.", needed=True),
            Field("name_claim", "Claim of the user name", needed=True),
            Field("email_claim", "Claim of the address"),
            Field("real_name_claim", "Claim of the name"),
            Field("userinfo", "Ask the userinfo endpoint too", widget="flag"),
            Field("membership_hours", "Hours after a login at which memberships end"),
            *_TLS,
            *_PEOPLE,
        ),
    ),
}
"""Kind → the fields that everybody looks at, and those that have a value that mostly fits."""

_DEFAULTS: Final[dict[str, SourceSettings]] = {"ldap": LdapSettings(url="", base_dn=""), "oidc": OidcSettings(issuer="", client_id="")}


@pages.get(_HERE)
async def show_all(call: Call) -> Response:
    """In their order."""
    return await _list(call)


@pages.post(_HERE)
async def add(call: Call) -> Response:
    """Set one up behind the others, of the kind that the form says."""
    name = call.form.text("name")
    try:
        row = await call.rooms.access.sources.add(call.actor, name, _settings(call, call.form.text("kind")), call.form.secret("secret"))
    except MISTAKES as error:
        return await _list(call, error)
    return call.redirect(f"{_HERE}/{row.name}", f"{row.name} is asked from now on: try it.")


@pages.get(f"{_HERE}/{{source}}")
async def show(call: Call) -> Response:
    """One as it is set up."""
    return await _show(call)


@pages.post(f"{_HERE}/{{source}}")
async def change(call: Call) -> Response:
    """What `act` says: check, settings, enable, disable, up, remove."""
    sources, name, act = call.rooms.access.sources, call.parameters["source"], call.form.text("act")
    row = await sources.get(call.actor, name)
    try:
        if act == "check":
            return await _show(call, check=await sources.check(call.actor, name))
        if act == "settings":
            settings = _settings(call, row.kind)
            await sources.change(call.actor, name, settings, _secret(call, settings))
            return call.redirect(f"{_HERE}/{name}", f"{name} is set up otherwise: try it.")
        if act == "remove":
            if call.form.text("typed") != name:
                raise InvalidInput("Nothing was removed: what you typed is not the source's name.")
            await sources.remove(call.actor, name)
            return call.redirect(_HERE, f"{name} is removed.")
        await _act(call, act, row)
    except MISTAKES as error:
        return await _show(call, error)
    return call.redirect(_HERE, f"{name} is changed.")


async def _act(call: Call, act: str, row: Source) -> None:
    sources = call.rooms.access.sources
    if act in ("enable", "disable"):
        await sources.set_enabled(call.actor, row.name, act == "enable")
    elif act == "up":
        await sources.move(call.actor, row.name, max(1, row.position - 1))
    else:
        raise InvalidInput("That is nothing to do to a login source.")


def _settings(call: Call, kind: str) -> SourceSettings:
    """What the form says. Raises InvalidAccount with the field that is wrong."""
    if kind not in _KINDS:
        raise InvalidInput("A login source is a directory (ldap) or an OpenID provider (oidc).")
    defaults = _DEFAULTS[kind]
    fields = [field for several in FIELDS[kind] for field in several]
    return decode(
        msgspec.json.encode({"kind": kind, **{field.name: _value(call, field, getattr(defaults, field.name)) for field in fields}})
    )


def _value(call: Call, field: Field, default: object) -> object:
    text = call.form.text(field.name)
    if field.widget == "flag":
        return call.form.flag(field.name)
    if isinstance(default, tuple):
        return text.split()
    if isinstance(default, int | float):
        try:
            return float(text or default)
        except ValueError:
            raise InvalidInput(f"{field.label}: {text[:40]!r} is no number.") from None
    return text


def _secret(call: Call, settings: SourceSettings) -> str | None:
    """What to keep from now on: None for what there is, "" for nothing. Who searches anonymously has no password."""
    if call.form.flag("forget") or (isinstance(settings, LdapSettings) and not settings.bind_dn):
        return ""
    return call.form.secret("secret") or None


async def _list(call: Call, error: RoadsteadError | None = None) -> Response:
    rows, page = await call.rooms.access.sources.list(call.actor), call.paging()
    shown = rows[(page.number - 1) * page.size : page.number * page.size]
    chosen = call.form.text("kind")
    forms = {kind: _filled(call, kind, defaults if error is None or kind != chosen else None) for kind, defaults in _DEFAULTS.items()}
    values: dict[str, Any] = {"sources": shown, "pager": call.pager(len(rows)), "forms": forms, "fields": FIELDS}
    return call.again("admin/sources.html", error, chosen=chosen, name=call.form.text("name"), **values)


async def _show(call: Call, error: RoadsteadError | None = None, check: Check | None = None) -> Response:
    row = await call.rooms.access.sources.get(call.actor, call.parameters["source"])
    sent = error is not None and call.form.text("act") == "settings"
    filled = _filled(call, row.kind, None if sent else row.settings)
    return call.again("admin/source.html", error, row=row, check=check, filled=filled, fields=FIELDS[row.kind])


def _filled(call: Call, kind: str, settings: SourceSettings | None) -> dict[str, Any]:
    """What stands in the fields: the settings, or what was sent (None)."""
    several = [field for some in FIELDS[kind] for field in some]
    if settings is None:
        return {one.name: call.form.flag(one.name) if one.widget == "flag" else call.form.text(one.name) for one in several}
    return {one.name: _written(getattr(settings, one.name)) for one in several}


def _written(value: object) -> object:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else value
