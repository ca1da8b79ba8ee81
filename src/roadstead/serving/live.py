"""Live responses that are open in this process: how many, of whom, and their common end when the process is to stop.

Each costs a look at the database every second or two for as long as its page is looked at. So nobody, and not all together, may have more
than a number of them open; that is counted in each worker by itself, as connections are.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from roadstead.errors import TooManyRequests
from roadstead.serving.observation import LIVE

EACH: Final = 20
"""Open streams of one account, or of all at one address who are not logged in. A browser keeps six connections, and a hidden page none."""

ALL: Final = 500
_AGAIN_SECONDS: Final = 60


class LiveStreams:
    """See the module's docstring."""

    def __init__(self, each: int = EACH, most: int = ALL) -> None:
        self._each = each
        self._most = most
        self._open: Counter[str] = Counter()
        self._ending = asyncio.Event()

    def enter(self, whose: str) -> Callable[[], None]:
        """Count one more; what is returned counts it no more, and may be called again for nothing. Raises TooManyRequests."""
        if self._open[whose] >= self._each:
            said = f"{self._each} pages are followed live already: close some, and load this one anew."
            raise TooManyRequests(said, retry_after=_AGAIN_SECONDS)
        if self._open.total() >= self._most:
            raise TooManyRequests("Too many pages are followed live at the moment; what this one shows is right, and stands still.")
        self._open[whose] += 1
        LIVE.inc()
        entered = True

        def leave() -> None:
            nonlocal entered
            if entered:
                entered = False
                LIVE.dec()
                self._open[whose] -= 1
                if not self._open[whose]:
                    del self._open[whose]

        return leave

    async def pause(self, seconds: float) -> bool:
        """Wait so long; at once, and with False, if the process is to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            return True
        return False

    def end(self) -> None:
        """Let every stream end now: the browsers ask anew, and whoever answers then goes on."""
        self._ending.set()
