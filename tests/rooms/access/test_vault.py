"""The secret key's file."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from roadstead.access.secret_key import SecretKey, load_or_make

from roadstead.errors import Misconfigured


def test_the_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        key = load_or_make(tmp_path / "new" / "secret.key")
    finally:
        os.umask(previous)
    path = tmp_path / "new" / "secret.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(path.read_text().strip())) == 32
    assert load_or_make(path).derive("x") == key.derive("x")
    assert list(path.parent.iterdir()) == [path]


def test_processes_that_start_at_once_end_with_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    for _ in range(10):
        path.unlink(missing_ok=True)
        gate = Barrier(8)

        def start(gate: Barrier = gate) -> bytes:
            gate.wait(10)
            return load_or_make(path).derive("x")

        with ThreadPoolExecutor(8) as threads:
            keys = {future.result() for future in [threads.submit(start) for _ in range(8)]}
        assert len(keys) == 1
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "abcd", "zz" * 32, "ab" * 31, "ab" * 33, "\xff" * 64])
def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(Misconfigured, match=r"secret\.key"):
        load_or_make(path)
    assert path.read_bytes() == content.encode("latin-1")


def test_a_file_that_cannot_be_made_or_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "secret.key", tmp_path):
        with pytest.raises(Misconfigured):
            load_or_make(path)


def test_a_key_for_each_purpose() -> None:
    one, other = SecretKey(b"a" * 32), SecretKey(b"b" * 32)
    keys = {one.derive("x"), one.derive("y"), other.derive("x")}
    assert len(keys) == 3
    assert all(len(key) == 32 for key in keys)
    assert one.derive("x") == SecretKey(b"a" * 32).derive("x")
    assert "a" * 32 not in repr(one)
