"""The start page, and what is found as one types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

from roadstead.access.actor import Action
from roadstead.errors import InvalidInput
from roadstead.registry.listing import Page
from roadstead.registry.rows import HitRow
from roadstead.serving.response import Response
from roadstead.sif.compatible import FoundImage
from roadstead.sif.needs import tells_needs
from roadstead.web.call import Call
from roadstead.web.needs import in_one_line
from roadstead.web.routes import Pages

pages = Pages()

_RECENT = 10  # pushes and projects on the start page


@pages.get("/")
async def show(call: Call) -> Response:
    """What was pushed of late, and how much there is."""
    pushes = await call.rooms.registry.search.recent(call.actor, _RECENT)
    uses = await call.rooms.registry.search.use(call.actor, _RECENT)
    numbers = await call.rooms.registry.statistics.get(call.actor)
    into = None if pushes else await _one_to_push_into(call, [use.project for use in uses])
    return call.page("home/home.html", pushes=pushes, uses=uses, numbers=numbers, into=into)


async def _one_to_push_into(call: Call, projects: Iterable[str]) -> str | None:
    """The first of one's projects that one may push into."""
    for project in projects:
        if Action.PUSH in await call.rooms.registry.projects.permitted(call.actor, project):
            return project
    return None


@pages.get("/auth/tokens")
async def tokens(call: Call) -> Response:
    """Where `apptainer remote login` sends its user for a token."""
    return call.redirect("/profile/tokens")


@pages.get("/search")
async def search(call: Call) -> Response:
    """What has the text somewhere, or needs of a machine what the text says; for htmx the list alone."""
    text = call.query.get("q", "")
    page = call.paging()
    needs = tells_needs(text)
    rows, more, mistake = await _by_needs(call, text, page) if needs else ([], False, None)
    if not rows:
        rows, more = await call.rooms.registry.search.find(call.actor, text, page)
    hits = [(row, address(row)) for row in rows]
    before = _page(text, page.number - 1) if page.number > 1 else None
    after = _page(text, page.number + 1) if more else None
    template = "home/hits.html" if call.partial else "home/search.html"
    return call.page(template, text=text, hits=hits, before=before, after=after, needs=needs, mistake=mistake)


async def _by_needs(call: Call, text: str, page: Page) -> tuple[Sequence[HitRow], bool, str | None]:
    """A page of the images that need what the text says, whether there is more, and what of the text is not understood.

    `cuda:12` may also be a repository with its tag: who finds nothing here looks for that.
    """
    try:
        found, more = await call.rooms.compatibility.search(call.actor, text, page)
    except InvalidInput as error:
        return [], False, error.message
    return [_hit(one) for one in found], more, None


def _hit(found: FoundImage) -> HitRow:
    return HitRow("image", found.repository.project, found.repository, None, found.digest, in_one_line(found.facts))


def address(row: HitRow) -> str:
    """The page of what was found: a repository's with a tag or digest as image references have them."""
    if row.repository is None:
        return f"/projects/{row.project}"
    if row.tag is not None:
        return f"/repositories/{row.repository}:{row.tag}"
    return f"/repositories/{row.repository}" + (f"@{row.digest}" if row.digest is not None else "")


def _page(text: str, number: int) -> str:
    return f"/search?{urlencode({'q': text, 'page': number})}"
