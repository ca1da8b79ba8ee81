"""Passwords: what is checked each time, what is remembered, and what never is."""

from __future__ import annotations

import pytest

from roadstead.access import passwords
from roadstead.access.passwords import COMMON_PASSWORDS, SHORTEST, PasswordChecker, hash_password, require_good_password
from roadstead.errors import InvalidAccount
from roadstead.metadata.accounts import AccountState

RIGHT = "correct horse"
STORED = hash_password(RIGHT)


def account(account_id: int, name: str, is_admin: bool, password_hash: str | None) -> AccountState:
    """An account as authentication reads it."""
    return AccountState(account_id, name, "user", "local", is_admin, password_hash, None, None, None, None)


ADA = account(1, "ada", False, STORED)


class Verifications:
    """Counts how often argon2 is asked, and about which hash."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self._really = passwords._verify
        monkeypatch.setattr("roadstead.access.passwords._verify", self)

    def __call__(self, stored: str, password: str) -> bool:
        self.asked.append(stored)
        return self._really(stored, password)


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> Verifications:
    return Verifications(monkeypatch)


@pytest.fixture
def checker() -> PasswordChecker:
    return PasswordChecker()


async def test_the_right_password_is_verified_once_and_remembered(checker: PasswordChecker, verifications: Verifications) -> None:
    for _ in range(3):
        assert await checker.check(ADA, "ada", RIGHT)
    assert verifications.asked == [STORED]


async def test_a_wrong_password_is_never_remembered(checker: PasswordChecker, verifications: Verifications) -> None:
    assert await checker.check(ADA, "ada", RIGHT)
    for wrong in ("wrong", "wrong", "", RIGHT + " ", RIGHT.upper()):
        assert not await checker.check(ADA, "ada", wrong)
    assert len(verifications.asked) == 6


async def test_an_unknown_account_takes_the_same_way(checker: PasswordChecker, verifications: Verifications) -> None:
    assert not await checker.check(None, "nobody", RIGHT)
    assert not await checker.check(account(2, "robot", False, None), "robot", RIGHT)
    first, second = verifications.asked
    assert first == second != STORED
    parameters = STORED.rpartition("$")[0].rpartition("$")[0]
    assert first.startswith(parameters), "a decoy of other cost would tell the difference"


async def test_a_remembered_password_is_bound_to_name_and_account(checker: PasswordChecker, verifications: Verifications) -> None:
    assert await checker.check(ADA, "ada", RIGHT)
    assert not await checker.check(None, "ada", RIGHT)
    bob = account(2, "bob", False, hash_password("another"))
    assert not await checker.check(bob, "bob", RIGHT)
    assert len(verifications.asked) == 3


async def test_a_changed_password_is_refused_at_once(checker: PasswordChecker) -> None:
    assert await checker.check(ADA, "ada", RIGHT)
    changed = account(1, "ada", False, hash_password("new"))
    assert not await checker.check(changed, "ada", RIGHT)
    assert await checker.check(changed, "ada", "new")


async def test_what_is_remembered_is_forgotten_after_a_while(
    checker: PasswordChecker, verifications: Verifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("roadstead.access.passwords.time.monotonic", lambda: now)
    assert await checker.check(ADA, "ada", RIGHT)
    now += 59
    assert await checker.check(ADA, "ada", RIGHT)
    assert len(verifications.asked) == 1
    now += 2
    assert await checker.check(ADA, "ada", RIGHT)
    assert len(verifications.asked) == 2


async def test_no_password_stands_in_memory(checker: PasswordChecker) -> None:
    assert await checker.check(ADA, "ada", RIGHT)
    assert RIGHT not in repr(checker._remembered)


async def test_a_name_cannot_borrow_from_a_password(checker: PasswordChecker) -> None:
    assert await checker.check(account(1, "a", False, hash_password("b\0c")), "a", "b\0c")
    assert not await checker.check(account(2, "a\0b", False, hash_password("c2")), "a\0b", "c")


async def test_the_longest_password_and_one_more(checker: PasswordChecker, verifications: Verifications) -> None:
    longest = "x" * 4096
    holder = account(1, "ada", False, hash_password(longest))
    assert await checker.check(holder, "ada", longest)
    assert not await checker.check(holder, "ada", longest + "x")
    assert not await checker.check(None, "ada", "x" * 10_000_000)
    assert len(verifications.asked) == 1


async def test_a_stored_hash_that_is_damaged_lets_nobody_in(checker: PasswordChecker) -> None:
    for damaged in ("", "x", "$argon2id$v=19$m=19456,t=2,p=1$x$y"):
        assert not await checker.check(account(1, "ada", False, damaged), "ada", RIGHT)


# --- which are good enough ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password", ["correct horse battery", "x7 Kq.mw2Lz", "parola de șters", "adalovelace and more", "夏は夜。月のころはさらなり"]
)
def test_a_good_password_needs_no_recipe(password: str) -> None:
    require_good_password(password, "ada")


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "x" * 4097,
        "Password123",
        "aaaaaaaaaaaa",
        "abababababab",
        "1234567890",
        "0987654321",
        "abcdefghijk",
        "qwertyuiop",
        "ada1234567",
        "7654321Ada",
    ],
    ids=lambda password: password[:16],
)
def test_an_easy_password_is_refused_with_the_rule(password: str) -> None:
    with pytest.raises(InvalidAccount):
        require_good_password(password, "ada")


def test_the_list_holds_nothing_that_length_refuses_already() -> None:
    assert all(len(one) >= SHORTEST and one == one.casefold() for one in COMMON_PASSWORDS)
    assert len(COMMON_PASSWORDS) > 80
