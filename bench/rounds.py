"""The rounds of a measurement: every contender in every round, in an order that turns, so that no one always goes first."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from bench.results import rounded
from bench.servers import Server, Starter

Contender = Callable[[], Mapping[str, float]]
"""Makes one attempt and returns its figures by name."""


class Arena(msgspec.Struct, frozen=True):
    """What a measurement gets: the server that is judged, the one it is compared with, a directory of its own, and the number of rounds."""

    subject: Starter
    rival: Starter
    directory: Path
    rounds: int
    announce: Callable[[str], None]

    def start_subject(self, name: str = "subject") -> AbstractContextManager[Server]:
        """Start the judged server over this measurement's own directory `name`."""
        return self.subject(self.directory / name)

    def start_rival(self, name: str = "rival") -> AbstractContextManager[Server]:
        """Start the server to compare with over this measurement's own directory `name`."""
        return self.rival(self.directory / name)


def interleave(arena: Arena, contenders: Sequence[Contender]) -> dict[str, list[float]]:
    """Play `arena.rounds` rounds and return each figure's values, one a round."""
    return by_figure([play(arena, number, contenders) for number in range(arena.rounds)])


def play(arena: Arena, number: int, contenders: Sequence[Contender]) -> dict[str, float]:
    """Play round `number` (from 0) and return its figures."""
    turn = number % len(contenders)
    found: dict[str, float] = {}
    for contender in (*contenders[turn:], *contenders[:turn]):
        found.update(contender())
    arena.announce(f"  round {number + 1}: " + ", ".join(f"{name} {rounded(value)}" for name, value in sorted(found.items())))
    return found


def by_figure(rounds: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Turn the figures of each round into the rounds of each figure."""
    return {figure: [played[figure] for played in rounds] for figure in rounds[0]}


def settle(directory: Path) -> None:
    """Write out what the filesystem of `directory` still holds in memory, so that nobody's turn pays for the one before."""
    subprocess.run(["sync", "-f", str(directory)], check=True)
