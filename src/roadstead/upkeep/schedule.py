"""Doing something again and again until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()


async def repeat(what: str, act: Callable[[], Awaitable[object]], every: float, stop: asyncio.Event) -> None:
    """Call `act`, then wait `every` seconds, until `stop` is set. A failure is logged, and the next turn tries again."""
    while not stop.is_set():
        try:
            await act()
        except Exception:
            log.exception("upkeep failed", what=what)
        try:
            async with asyncio.timeout(every):
                await stop.wait()
        except TimeoutError:
            continue
