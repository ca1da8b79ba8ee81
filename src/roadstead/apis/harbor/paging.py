"""Pages of listings: `page`, `page_size`, `q` and `sort` of a request; `X-Total-Count` and `Link` (RFC 8288) of its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import quote, urlencode

from fastapi import Depends, Query

from roadstead.apis.harbor.call import Call
from roadstead.apis.harbor.query import NO_FIELDS, Fields, parse_filters, parse_sort
from roadstead.registry.listing import PAGE_LIMIT, Filter, Listing, Page

T = TypeVar("T")
_DEFAULT: Final = 10
_LAST: Final = 2**31 - 1


class Paging:
    """What a listing was asked for, still to be read against the fields that it has."""

    def __init__(
        self,
        page: Annotated[int, Query(ge=1, le=_LAST, description="The page, from 1.")] = 1,
        page_size: Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="Entries of a page.")] = _DEFAULT,
        q: Annotated[str | None, Query(description="Conditions, as in `k=v,k=~v,k=[a~b],k={a b},k=(a b)`.")] = None,
        sort: Annotated[str | None, Query(description="Fields to sort by, separated by commas; `-field` is descending.")] = None,
    ) -> None:
        self.page = Page(page, page_size)
        self._q = q
        self._sort = sort

    def listing(self, fields: Fields = NO_FIELDS, *more: Filter) -> Listing:
        """As rooms take it, with `more` conditions from elsewhere in the request. Raises InvalidInput where `q` or `sort` are not valid."""
        return Listing((*parse_filters(self._q, fields), *more), parse_sort(self._sort, fields), self.page)

    def tell(self, call: Call, total: int) -> None:
        """Write the headers of the answer: how many entries there are in all, and where the pages before and after this one are."""
        call.headers["x-total-count"] = str(total)
        links = []
        if self.page.number > 1:
            links.append(self._link(call, self.page.number - 1, "prev"))
        if self.page.number * self.page.size < total:
            links.append(self._link(call, self.page.number + 1, "next"))
        if links:
            call.headers["link"] = ", ".join(links)

    def _link(self, call: Call, page: int, relation: str) -> str:
        query = {**dict(call.request.query()), "page": page, "page_size": self.page.size}
        return f'<{call.request.path}?{urlencode(query, quote_via=quote)}>; rel="{relation}"'

    def nothing(self, call: Call) -> list[Any]:
        """The page of a listing of what this registry does not have."""
        self.tell(call, 0)
        return []

    def cut(self, call: Call, entries: Sequence[T]) -> Sequence[T]:
        """The page of a short listing that is in memory as a whole."""
        self.tell(call, len(entries))
        start = (self.page.number - 1) * self.page.size
        return entries[start : start + self.page.size]


Paged = Annotated[Paging, Depends()]
