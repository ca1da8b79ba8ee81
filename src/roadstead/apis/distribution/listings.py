"""Tags, referrers and the catalog (distribution-spec, "Listing Tags", "Listing Referrers")."""

from __future__ import annotations

from typing import Final

from roadstead.apis.distribution.call import Call
from roadstead.errors import InvalidPaging
from roadstead.oci import media_type
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import index_of
from roadstead.oci.reference import RepositoryName
from roadstead.serving.paging import next_link, parse_page
from roadstead.serving.response import Headers, Response, json_response

_MOST: Final = 10_000
_CATALOG_PAGE: Final = 1_000
_REFERRERS_PAGE: Final = 1_000


async def tags(call: Call) -> Response:
    """GET tags/list, by `n` and `last`."""
    page = parse_page(call.request.query(), default=_MOST, most=_MOST)
    found = await call.registry.tags.names(call.actor, call.name, page.last, page.limit + 1)
    names = found[: page.limit]
    link = next_link(f"/v2/{call.typed}/tags/list", n=page.limit, last=names[-1]) if names and len(found) > len(names) else None
    return json_response(200, {"name": call.typed, "tags": names}, link)


async def catalog(call: Call) -> Response:
    """GET _catalog: the repositories that the caller may see, by `n` and `last`."""
    page = parse_page(call.request.query(), default=_CATALOG_PAGE, most=_MOST)
    after = RepositoryName.parse(page.last) if page.last else None
    found = await call.registry.repositories.catalog(call.actor, after, page.limit + 1)
    names = found[: page.limit]
    link = next_link("/v2/_catalog", n=page.limit, last=names[-1]) if names and len(found) > len(names) else None
    return json_response(200, {"repositories": names}, link)


async def referrers(call: Call) -> Response:
    """GET referrers, by `artifactType`; pages are linked by an opaque `after`."""
    subject = Digest.parse(call.value)
    query = dict(call.request.query())
    wanted = query.get("artifactType") or None
    after = _after(query.get("after", "0"))
    page = await call.registry.referrers.list(call.actor, call.name, subject, wanted, after, _REFERRERS_PAGE)
    headers: Headers = [(b"content-type", media_type.OCI_INDEX.encode())]
    if wanted is not None:
        headers.append((b"oci-filters-applied", b"artifactType"))
    if page.continue_after is not None:
        filters = {"artifactType": wanted} if wanted is not None else {}
        headers += next_link(f"/v2/{call.typed}/referrers/{subject}", **filters, after=page.continue_after)
    return Response(200, headers, index_of(page.referrers))


def _after(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidPaging("The 'after' of a referrers page is not valid: follow the Link header of the page before.")
    return int(text)
