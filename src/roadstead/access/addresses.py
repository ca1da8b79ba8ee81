"""Who shares an address, as far as an address can tell."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Final

_HOME: Final = 64  # bits of IPv6 that a provider gives to one home or one network (RFC 6177); all below are its holder's to choose


@lru_cache(maxsize=4096)
def neighbourhood(address: str) -> str:
    """What counts as one address: an IPv4 address, the /64 of an IPv6 address, and what is neither as it is."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:100]
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed) >> _HOME << _HOME, _HOME)))
