"""The secret key's file, and what is encrypted with it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from roadstead.access.vault import Sealed, Vault, load_or_make
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
    one, other = Vault([b"a" * 32]), Vault([b"b" * 32])
    keys = {one.derive("x"), one.derive("y"), other.derive("x")}
    assert len(keys) == 3
    assert all(len(key) == 32 for key in keys)
    assert one.derive("x") == Vault([b"a" * 32]).derive("x")
    assert "a" * 32 not in repr(one)


def test_what_was_sealed_opens_for_its_purpose_alone() -> None:
    vault = Vault([b"a" * 32])
    sealed = vault.seal("password of a directory", b"hush")
    assert vault.open("password of a directory", sealed) == b"hush"
    assert b"hush" not in sealed.ciphertext
    assert vault.seal("password of a directory", b"hush").ciphertext != sealed.ciphertext
    with pytest.raises(Misconfigured, match="damaged"):
        vault.open("password of something else", sealed)


@pytest.mark.parametrize("position", [0, 13, -1])
def test_damage_is_noticed(position: int) -> None:
    vault = Vault([b"a" * 32])
    sealed = vault.seal("x", b"hush, hush")
    damaged = bytearray(sealed.ciphertext)
    damaged[position] ^= 1
    with pytest.raises(Misconfigured, match="damaged"):
        vault.open("x", Sealed(sealed.key_id, bytes(damaged)))


def test_a_key_is_rotated_by_a_line_in_front(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    before = load_or_make(path)
    old = before.seal("x", b"hush")
    path.write_text("ab" * 32 + "\n" + path.read_text())
    after = load_or_make(path)
    assert after.current != before.current
    assert after.open("x", old) == b"hush"
    new = after.seal("x", b"hush")
    assert new.key_id == after.current
    with pytest.raises(Misconfigured, match=new.key_id):
        before.open("x", new)
    path.write_text("ab" * 32)
    with pytest.raises(Misconfigured, match=old.key_id):
        load_or_make(path).open("x", old)


def test_one_bad_line_spoils_the_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    path.write_text("ab" * 32 + "\n" + "cd" * 31)
    with pytest.raises(Misconfigured, match="damaged"):
        load_or_make(path)
