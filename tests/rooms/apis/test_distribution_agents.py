"""Who is given an image in place of a SIF: recorded clients, one a line of the file beside this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from roadstead.apis.distribution import agents
from roadstead.apis.distribution.agents import RUNS_IMAGES, runs_images

RECORDED = [
    line.split(" ", 1) for line in Path(__file__).with_name("user_agents.txt").read_text().splitlines() if line.startswith(("yes ", "no "))
]


@pytest.mark.parametrize(("runs", "agent"), RECORDED)
def test_a_recorded_client_is_known_for_what_it_does(runs: str, agent: str) -> None:
    assert runs_images(agent) is (runs == "yes")


def test_who_says_nothing_or_something_similar_is_given_what_was_pushed() -> None:
    for agent in (None, "", "docker", "dockerish/1", "my docker/1.0", "Mozilla/5.0 docker/20", "x, docker/20"):
        assert not runs_images(agent)
    assert runs_images("CRI-O/1.31")


def test_each_line_of_the_table_has_a_recording_and_stands_in_the_page() -> None:
    for begin in RUNS_IMAGES:
        assert any(agent.encode().lower().startswith(begin) for runs, agent in RECORDED if runs == "yes")
        assert begin.decode() in (agents.__doc__ or "")
