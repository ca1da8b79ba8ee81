"""The start page, and what is found as one types."""

from __future__ import annotations

from urllib.parse import urlencode

from roadstead.registry.rows import HitRow
from roadstead.serving.response import Response
from roadstead.web.call import Call
from roadstead.web.routes import Pages

pages = Pages()

_RECENT = 10  # pushes and projects on the start page


@pages.get("/")
async def show(call: Call) -> Response:
    """What was pushed of late, and how much there is."""
    pushes = await call.rooms.registry.search.recent(call.actor, _RECENT)
    uses = await call.rooms.registry.search.use(call.actor, _RECENT)
    numbers = await call.rooms.registry.statistics.get(call.actor)
    return call.page("home/home.html", pushes=pushes, uses=uses, numbers=numbers)


@pages.get("/auth/tokens")
async def tokens(call: Call) -> Response:
    """Where `apptainer remote login` sends its user for a token."""
    return call.redirect("/profile/tokens")


@pages.get("/search")
async def search(call: Call) -> Response:
    """What has the text somewhere, or needs of a machine what the text says; for htmx the list alone."""
    text = call.query.get("q", "")
    page = call.paging()
    rows, more = await _by_needs(call, text, page)
    if not rows:
        rows, more = await call.rooms.registry.search.find(call.actor, text, page)
    hits = [(row, address(row)) for row in rows]
    before = _page(text, page.number - 1) if page.number > 1 else None
    after = _page(text, page.number + 1) if more else None
    template = "home/hits.html" if call.partial else "home/search.html"
    return call.page(template, text=text, hits=hits, before=before, after=after)


async def _by_needs(call: Call, text: str, page: Page) -> tuple[Sequence[HitRow], bool]:
    """The images that need what the text says, where it is written so; nothing while one is still typing it."""
    if not tells_needs(text):
        return [], False
    try:
        found, more = await call.rooms.compatibility.search(call.actor, text, page)
    except InvalidInput:
        return [], False
    return [HitRow("image", one.repository.project, one.repository, digest=one.digest, said=one.facts.told()) for one in found], more


def address(row: HitRow) -> str:
    """The page of what was found: a repository's with a tag or digest as image references have them."""
    if row.repository is None:
        return f"/projects/{row.project}"
    if row.tag is not None:
        return f"/repositories/{row.repository}:{row.tag}"
    return f"/repositories/{row.repository}" + (f"@{row.digest}" if row.digest is not None else "")


def _page(text: str, number: int) -> str:
    return f"/search?{urlencode({'q': text, 'page': number})}"
