"""How a list is asked for: the words of `metadata.listing`, for doors, which do not see that room."""

from __future__ import annotations

from roadstead.metadata.listing import PAGE_LIMIT, Filter, Listing, Match, Page, Sort

__all__ = ["PAGE_LIMIT", "Filter", "Listing", "Match", "Page", "Sort"]
