"""Which image of an index is meant: by `os/architecture[/variant]`, as `docker pull --platform` writes it."""

from __future__ import annotations

import platform as machine
from collections.abc import Sequence
from typing import Any, Final

from roadstead.errors import NotConvertible
from roadstead.oci.descriptor import Descriptor

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_SIF_ARCHITECTURE: Final = slice(45, 47)
_SIF_CODES: Final = {
    b"01": "386",
    b"02": "amd64",
    b"03": "arm",
    b"04": "arm64",
    b"05": "ppc64",
    b"06": "ppc64le",
    b"07": "mips",
    b"08": "mipsle",
    b"09": "mips64",
    b"10": "mips64le",
    b"11": "s390x",
    b"12": "riscv64",
}
SIF_HEAD: Final = 48
"""Bytes of a SIF that tell for which machine it is (Singularity's `pkg/sif/arch.go`)."""


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


def require(platform: str | None, there: str | None, name: str) -> None:
    """Return if what is there is what was asked for, as far as either is known. Raises NotConvertible."""
    if platform and there and platform.split("/")[:2] != there.split("/")[:2]:
        raise NotConvertible(f"{name} is for {there}, and not for {platform}.")


def of_sif(head: bytes) -> str | None:
    """The platform that a SIF's first bytes name; None where it names none."""
    code = _SIF_CODES.get(head[_SIF_ARCHITECTURE])
    return f"linux/{code}" if code else None


def written(platform: dict[str, Any] | None) -> str:
    """As it is written in commands."""
    told = platform or {}
    return "/".join(str(told[key]) for key in ("os", "architecture", "variant") if told.get(key)) or "an unnamed platform"
