"""What people write about repositories, in Markdown: as harmless HTML on its page, and as a line of plain text in lists.

Whoever may describe a repository may write 64 KiB of anything. Reading them costs less than a second, in a thread and once for each text;
only the empty cells that a table makes of its shorter rows could cost more (a row of one mark becomes as many cells as the first has).
"""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from typing import Final

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

_PLAIN: Final = MarkdownIt("commonmark", {"html": False})
_WITH_TABLES: Final = MarkdownIt("commonmark", {"html": False}).enable("table")
_TAGS: Final = nh3.ALLOWED_TAGS - {"img"}  # a picture of elsewhere would tell that site who reads
_KEPT: Final = 32  # texts with their HTML, of less than half a megabyte each
_CELLS: Final = 50_000
_RULE: Final = re.compile(r"[|:\- \t]*\|[|:\- \t]*")

_LOOKED_AT: Final = 20  # lines
_LONGEST_LINE: Final = 500
_BLOCK_MARKS: Final = re.compile(r"(?:\s*(?:#{1,6}|>|[-*+]|[0-9]{1,9}[.)])(?=\s))*\s*")
_NAMED: Final = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_MARKS: Final = re.compile(r"(?<!\w)[*_]+|[*_]+(?!\w)|`+|~~|\s#+\s*$")
_SAYS_NOTHING: Final = re.compile(r"\s*(?:[=|:\-*_ ]*|```.*|~~~.*|\[[^\]]*\]:.*)")


async def rendered(text: str) -> Markup:
    """The text as HTML, without pictures and scripts."""
    return await asyncio.to_thread(_rendered, text)


@lru_cache(maxsize=_KEPT)
def _rendered(text: str) -> Markup:
    html = (_WITH_TABLES if _cells(text) <= _CELLS else _PLAIN).render(text)
    return Markup(nh3.clean(html, tags=_TAGS, link_rel="noopener noreferrer nofollow"))  # noqa: S704 - it is cleaned


def _cells(text: str) -> int:
    """At most so many cells would the tables in a text have."""
    lines = text.splitlines()
    return len(lines) * max((line.count("|") + 1 for line in lines if _RULE.fullmatch(line)), default=0)


def first_line(text: str) -> str:
    """The first line that says something, without marks."""
    for line in text.splitlines()[:_LOOKED_AT]:
        said = line[:_LONGEST_LINE]
        if not _SAYS_NOTHING.fullmatch(said) and (plain := _plain(said)):
            return plain
    return ""


def _plain(line: str) -> str:
    found = _BLOCK_MARKS.match(line)
    rest = line[found.end() :] if found else line
    for _ in range(2):  # a picture may be a link
        rest = _NAMED.sub(r"\1", rest)
    return _MARKS.sub("", rest).strip()
