"""The form of secrets."""

from __future__ import annotations

import re

import pytest

from roadstead.access.secret import KINDS, hash_secret, hint, kind_of, looks_like_secret, make_secret


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_is_long_plain_and_recognised(kind: str) -> None:
    secret = make_secret(kind)
    assert re.fullmatch(rf"rsd_{KINDS[kind]}_[0-9A-Za-z]{{198}}", secret)
    assert len(secret.encode()) >= 200, "apptainer's remote login refuses a shorter one"
    assert looks_like_secret(secret)
    assert kind_of(secret) == kind
    assert make_secret(kind) != secret
    assert secret.startswith(hint(secret))
    assert len(hint(secret)) < 20


def test_the_checksum_is_what_secret_scanners_can_compute() -> None:
    """CRC-32 of all before it, to the base 62 with the digits 0-9a-zA-Z, in six places."""
    assert looks_like_secret("rsd_p_" + "a" * 192 + "0Eqoh1")
    assert not looks_like_secret("rsd_p_" + "a" * 192 + "0Eqoh2")


@pytest.mark.parametrize("position", [0, 4, 6, 100, 197, 198, 203])
def test_a_slip_of_the_pen_is_noticed(position: int) -> None:
    secret = make_secret("token")
    other = "A" if secret[position] != "A" else "B"
    assert not looks_like_secret(secret[:position] + other + secret[position + 1 :])


@pytest.mark.parametrize("text", ["", "rsd_", "rsd_p_" + "a" * 198, "correct horse", "é" * 204])
def test_other_texts_are_passwords(text: str) -> None:
    assert not looks_like_secret(text)


def test_what_is_stored_does_not_tell_the_secret() -> None:
    secret = make_secret("cli")
    assert re.fullmatch("[0-9a-f]{64}", hash_secret(secret))
    assert hash_secret(secret) == hash_secret(secret) != hash_secret(make_secret("cli"))
