"""The files of counters: their room is taken before anything is counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prometheus_client.values import MultiProcessValue

from roadstead.serving.observation import reserve_counters


def test_the_room_of_every_file_of_counters_is_reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    reserve_counters()
    reserved = {path.name: path.stat() for path in tmp_path.iterdir()}
    assert all(stat.st_blocks * 512 >= stat.st_size >= 65536 for stat in reserved.values())

    value = MultiProcessValue()  # type: ignore[no-untyped-call]
    for kind, mode in (("counter", ""), ("histogram", ""), ("gauge", "livesum")):
        value(kind, "x", "x", (), (), "help", mode).inc(1)
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {name: stat.st_size for name, stat in reserved.items()}
    assert f"counter_{os.getpid()}.db" in reserved


def test_a_process_that_counts_for_itself_alone_needs_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    reserve_counters()
    assert not list(tmp_path.iterdir())
