"""Writing a batch that was gathered in memory, so that a cancellation neither loses it nor writes it twice."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`. If that is cancelled, `work` goes on and is waited for all the same, and only then is the cancellation raised."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # it is the work's own to mend; here it would hide the cancellation
        raise
