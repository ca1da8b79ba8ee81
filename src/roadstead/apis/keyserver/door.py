"""Keys looked up by everybody, and pushed by who is logged in (draft-gallagher-openpgp-hkp-08).

    POST      /pks/add        form: keytext
    GET HEAD  /pks/lookup     ?op=get|index|vindex &search=0xFINGERPRINT|0xKEYID|WORDS [&options=mr] [&exact=on]
                              [&x-pagesize=N] [&x-pagetoken=TOKEN]; the next page's token is in X-HKP-Next-Page-Token

What a lookup carries as credentials is not looked at: a key is found by those too whose token has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from roadstead.access.access import Access
from roadstead.access.actor import Actor, anonymous_from
from roadstead.access.openpgp import LARGEST, armored
from roadstead.access.openpgp_keys import LONGEST_PAGE, FoundKey
from roadstead.apis.keyserver import errors
from roadstead.errors import InvalidInput, NotFound, NotOffered, RoadsteadError, Unauthenticated
from roadstead.serving.credentials import authenticate
from roadstead.serving.errors import MethodNotAllowed
from roadstead.serving.request import Request, parse_fields
from roadstead.serving.response import Headers, Response, encoded

_FORM_LIMIT: Final = 4 * LARGEST  # the key in armour, with every '+' and '/' and line's end percent-encoded
_METHODS: Final[Mapping[str, tuple[str, ...]]] = {"/pks/add": ("POST",), "/pks/lookup": ("GET", "HEAD")}
_LOG_IN: Final = "Log in first, as by 'apptainer remote login' or 'apptainer keyserver login': a key belongs to the account that pushes it."
_KEYS: Final = (b"content-type", b"application/pgp-keys")
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
# A page of another site may look keys up, as the protocol wants it; nothing here depends on who asks.
_OPEN: Final = (b"access-control-allow-origin", b"*")


class KeyServerDoor:
    """See the module's docstring."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def handle(self, request: Request) -> Response:
        """Answer, or raise from the error tree."""
        request.route = "keyserver"
        if request.path not in _METHODS:
            raise NotFound("This key server has /pks/add and /pks/lookup.")
        if request.method not in _METHODS[request.path]:
            raise MethodNotAllowed
        return await (self._add(request) if request.path == "/pks/add" else self._lookup(request))

    async def _add(self, request: Request) -> Response:
        actor = await self._who(request)
        self._count(actor)
        form = dict(parse_fields(await request.whole_body(_FORM_LIMIT), "The form"))
        if not form.get("keytext"):
            raise InvalidInput("There is no key in the field 'keytext'.")
        key = await self._access.openpgp_keys.push(actor, form["keytext"].encode())
        return Response(200, [_TEXT], f"{key.fingerprint}\n".encode())

    async def _who(self, request: Request) -> Actor:
        """Who pushes. Apptainer sends an empty bearer token where it has none."""
        if (request.header(b"authorization") or "").strip().lower() in ("", "bearer"):
            raise Unauthenticated(_LOG_IN)
        return await authenticate(self._access.accounts, request)

    async def _lookup(self, request: Request) -> Response:
        self._count(anonymous_from(request.address))
        query = dict(request.query())
        operation, search = query.get("op", ""), query.get("search", "")
        if not search:
            raise InvalidInput("Say in 'search' which key.")
        if operation == "get":
            found = await self._access.openpgp_keys.certificates(search)
            return Response(200, [_KEYS, _OPEN], b"".join(map(armored, found)))
        if operation in ("index", "vindex"):
            return await self._index(search, query)
        raise NotOffered("This key server has the operations get, index and vindex.")

    async def _index(self, search: str, query: Mapping[str, str]) -> Response:
        limit, after = _number(query, "x-pagesize", LONGEST_PAGE), _number(query, "x-pagetoken", 0)
        limit = max(1, min(limit, LONGEST_PAGE))
        found = await self._access.openpgp_keys.search(search, exact=query.get("exact") == "on", after=after, limit=limit + 1)
        if not found:
            raise NotFound("There is no such key here.")
        rows = found[:limit]
        more: Headers = [(b"x-hkp-next-page-token", encoded(rows[-1].id))] if len(found) > limit else []
        machine = "mr" in query.get("options", "").split(",")
        lines = _machine_readable(rows) if machine else _for_people(rows)
        return Response(200, [_TEXT, _OPEN, *more], "".join(f"{line}\n" for line in lines).encode())

    def _count(self, actor: Actor) -> None:
        if self._access.limits.active:
            self._access.limits.request(actor)

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """The error as JSON, with the headers that belong to the status."""
        response = errors.render(error, request.id)
        if isinstance(error, MethodNotAllowed):
            response.status = 405
            response.headers.append((b"allow", ", ".join(_METHODS[request.path]).encode()))
        elif isinstance(error, Unauthenticated):
            response.headers.append((b"www-authenticate", b'Basic realm="Roadstead", charset="UTF-8"'))
        return response


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    value = query.get(name, "") or str(default)
    if not value.isdecimal() or not value.isascii() or len(value) > 18:
        raise InvalidInput(f"{name} is a whole number.")
    return int(value)


def _machine_readable(rows: Sequence[FoundKey]) -> Iterable[str]:
    """The machine-readable index (§5.2): times in seconds since 1970, user ids percent-encoded, flags `r`evoked and `e`xpired."""
    yield f"info:1:{len(rows)}"
    for row in rows:
        expires = "" if row.expires_at is None else str(int(row.expires_at.timestamp()))
        created, flags = int(row.created_at.timestamp()), _flags(row)
        yield f"pub:{row.fingerprint.upper()}:{row.algorithm}:{row.bits}:{created}:{expires}:{flags}"
        for user_id in row.user_ids:
            yield f"uid:{quote(user_id, safe=' <>@()')}:{created}:{expires}:{flags}"


def _flags(row: FoundKey) -> str:
    return ("r" if row.revoked else "") + ("e" if row.expired else "")


def _for_people(rows: Sequence[FoundKey]) -> Iterable[str]:
    for row in rows:
        state = {"": "", "r": "  revoked", "e": "  expired", "re": "  revoked, expired"}[_flags(row)]
        yield f"{row.fingerprint.upper()}  {row.created_at:%Y-%m-%d}  pushed by {row.owner or 'an account that has ended'}{state}"
        yield from (f"    {user_id}" for user_id in row.user_ids)
