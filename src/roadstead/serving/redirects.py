"""Where a browser may be sent after a login: to paths of this registry alone (CWE-601, open redirect)."""

from __future__ import annotations

import re
from typing import Final

from roadstead.errors import InvalidInput

# One slash and then neither a second one nor a backslash, which browsers take for one: those would begin a host's name. ASCII without
# control characters and blanks, which browsers drop before they look.
_LOCAL: Final = re.compile(r"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?")
_LONGEST: Final = 1000  # it waits in a cookie, percent-encoded, and a cookie has 4096 bytes


def local_path(wanted: str) -> str:
    """The path, with its query, if it leads to this registry. Raises InvalidInput."""
    if len(wanted) > _LONGEST or not _LOCAL.fullmatch(wanted):
        raise InvalidInput("The redirect_url must be a path of this registry, as in /projects.")
    return wanted
