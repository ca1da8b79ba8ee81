"""The commands that show what a registry holds."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer

from roadstead.cli.remote import Ca, Host, Json, Plain, Quiet, Where, print_facts, session_at
from roadstead.errors import InvalidInput, NotFound


def list_repositories(
    where: Annotated[str, typer.Argument(help="HOST, HOST/project, or a longer beginning of the names.")],
    ca: Ca = None,
    plain_http: Plain = False,
    as_json: Json = False,
) -> None:
    """List the repositories that you may see."""
    from roadstead.client.locations import host_of  # noqa: PLC0415 - each command pays only for what it uses
    from roadstead.client.management import has_project  # noqa: PLC0415 - see above

    host, path = host_of(where)
    with session_at(host, plain_http, ca) as session:
        found = [name for name in session.repositories() if not path or f"{name}/".startswith(f"{path}/")]
        if path and not found and not ("/" not in path and has_project(session, path)):
            raise NotFound(f"There is nothing at {host}/{path}{session.advice()}")
    print_facts(found, "\n".join(found), as_json)


def tags(
    where: Annotated[str, typer.Argument(help="HOST/project/image.")], ca: Ca = None, plain_http: Plain = False, as_json: Json = False
) -> None:
    """List the tags of a repository."""
    from roadstead.client.locations import names_one, parse_location  # noqa: PLC0415 - see list_repositories

    place = parse_location(where)
    if names_one(where):
        raise InvalidInput(f"The tags of a whole repository are listed: {place.host}/{place.repository}")
    with session_at(place.host, plain_http, ca) as session:
        names = session.tags(place.repository)
    print_facts(names, "\n".join(names), as_json)


def inspect(where: Where, ca: Ca = None, plain_http: Plain = False, as_json: Json = False) -> None:
    """Show what a tag or digest names: its manifest, and its digest and size."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see list_repositories

    place = parse_location(where)
    with session_at(place.host, plain_http, ca) as session:
        found = session.manifest(place.repository, place.reference)
    size = sum(blob.size for blob in found.manifest.blobs())
    facts = {"digest": found.digest, "mediaType": found.manifest.media_type, "size": size, "manifest": json.loads(found.content)}
    lines = [place.text, f"  digest  {found.digest}", f"  type    {found.manifest.media_type}", f"  size    {size} bytes"]
    parts = (*found.manifest.layers, *found.manifest.children)
    lines += [f"  {part.digest}  {part.size}  {part.media_type}{_platform(part.platform)}" for part in parts]
    print_facts(facts, "\n".join(lines), as_json)


def _platform(told: dict[str, Any] | None) -> str:
    return "" if told is None else "  " + "/".join(str(told[key]) for key in ("os", "architecture", "variant") if told.get(key))


def search(
    host: Host,
    text: Annotated[str, typer.Argument(help="A part of the name of a project or repository.")],
    ca: Ca = None,
    plain_http: Plain = False,
    as_json: Json = False,
) -> None:
    """Find projects and repositories by a part of their names."""
    from roadstead.client.locations import bare_host  # noqa: PLC0415 - see list_repositories
    from roadstead.client.management import find  # noqa: PLC0415 - see list_repositories

    place = bare_host(host)
    with session_at(place, plain_http, ca) as session:
        found = find(session, text)
    lines = [f"{place}/{name}/" for name in found.projects]
    lines += [f"{place}/{one.name}  {one.artifacts} artifacts, {one.pulls} pulls" for one in found.repositories]
    facts = {"projects": found.projects, "repositories": [one.facts for one in found.repositories]}
    print_facts(facts, "\n".join(lines), as_json)


def show_page(
    where: Annotated[str, typer.Argument(help="HOST, HOST/project, HOST/project/image, or that with :tag or @sha256:….")],
    plain_http: Plain = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Print the address of the page about it, and open that in a browser where there is a screen."""
    from roadstead.client.locations import host_of  # noqa: PLC0415 - see list_repositories
    from roadstead.client.session import speaks_plain  # noqa: PLC0415 - see list_repositories

    host, _ = host_of(where)
    page = _page(where)
    url = f"{'http' if plain_http or speaks_plain(host) else 'https'}://{host}/{page}"
    print_facts({"url": url}, url, as_json)
    if not quiet and not as_json and sys.stdout.isatty() and os.environ.get("DISPLAY", os.environ.get("WAYLAND_DISPLAY")):
        typer.launch(url)


def _page(where: str) -> str:
    """The page's path: of the registry, a project, a repository, or what a tag or digest names there."""
    from roadstead.client.locations import host_of, names_one, parse_location  # noqa: PLC0415 - see list_repositories

    _, path = host_of(where)
    if not path:
        return ""
    place = parse_location(where)
    if names_one(where):
        return f"repositories/{place.text.removeprefix(place.host + '/')}"
    return f"repositories/{place.repository}" if "/" in path else f"projects/{path}"
