"""Which image of an index is meant: by `os/architecture[/variant]`, as `docker pull --platform` writes it."""

from __future__ import annotations

import platform as machine
from collections.abc import Sequence
from typing import Any, Final

from roadstead.errors import NotConvertible
from roadstead.oci.descriptor import Descriptor

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def own_platform() -> str:
    """This machine's."""
    return f"linux/{_ARCHITECTURES.get(machine.machine(), machine.machine())}"


def pick(children: Sequence[Descriptor], platform: str | None) -> Descriptor:
    """The one for the platform; where none is asked for, this machine's, or the only one that there is. Raises NotConvertible."""
    wanted = platform or own_platform()
    there = [child for child in children if (child.platform or {}).get("os") != "unknown"]  # Attestations say `unknown`.
    found = [child for child in there if written(child.platform) == wanted or written(child.platform).startswith(f"{wanted}/")]
    if not found and platform is None and len(there) == 1:
        found = there
    if not found:
        raise NotConvertible(f"There is no image for {wanted}, but for {', '.join(written(child.platform) for child in there)}.")
    return found[0]


def written(platform: dict[str, Any] | None) -> str:
    """As it is written in commands."""
    told = platform or {}
    return "/".join(str(told[key]) for key in ("os", "architecture", "variant") if told.get(key)) or "an unnamed platform"
