"""The keys that sign bearer tokens: shared by replicas, replaced by themselves, encrypted at rest."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from roadstead.access.signing import SIGNS_FOR, SigningKeys
from roadstead.access.tokens import Tokens
from roadstead.access.vault import Vault
from roadstead.errors import Misconfigured, Unauthenticated
from roadstead.metadata.database import Database
from roadstead.metadata.schema import signing_keys
from tests.support.factories import ManualClock

ACCEPTED_AFTER = timedelta(hours=12)
OLD, NEW = b"k" * 32, b"n" * 32


def replica(database: Database, clock: ManualClock, *keys: bytes) -> SigningKeys:
    """The keys as another process reads them."""
    return SigningKeys(database, Vault(keys or (OLD,)), clock, ACCEPTED_AFTER)


async def test_a_key_signs_for_its_time_and_is_accepted_a_little_longer(database: Database, clock: ManualClock) -> None:
    keys = replica(database, clock)
    tokens = Tokens(keys, clock)
    first, _ = await keys.current()
    clock.advance(SIGNS_FOR - timedelta(seconds=1))
    assert (await keys.current())[0] == first
    last = await tokens.issue(7, None, [])
    clock.advance(timedelta(seconds=2))
    second, _ = await keys.current()
    assert second != first
    assert {key["kid"] for key in (await keys.jwks())["keys"]} == {first, second}
    assert await replica(database, clock).verifying(first)
    assert (await Tokens(replica(database, clock), clock).verify(last)).account_id == 7
    clock.advance(ACCEPTED_AFTER)
    for reader in (keys, replica(database, clock)):
        with pytest.raises(KeyError):
            await reader.verifying(first)
        assert [key["kid"] for key in (await reader.jwks())["keys"]] == [second]


async def test_replicas_use_one_key_and_read_each_others_tokens(database: Database, clock: ManualClock) -> None:
    here, there = replica(database, clock), replica(database, clock)
    assert (await here.current())[0] == (await there.current())[0]
    # Two that start at the same moment may each make one; both are good.
    clock.advance(SIGNS_FOR + timedelta(seconds=1))
    made = await here._make(), await there._make()
    assert made[0].kid != made[1].kid
    for one, other in ((here, there), (there, here)):
        token = await Tokens(one, clock).issue(7, None, [])
        assert (await Tokens(other, clock).verify(token)).account_id == 7


async def test_another_installations_tokens_are_refused(database: Database, clock: ManualClock) -> None:
    keys = replica(database, clock)
    await keys.current()
    token = await Tokens(keys, clock).issue(7, None, [])
    await database.write(lambda connection: connection.execute(signing_keys.delete()))
    with pytest.raises(Unauthenticated):
        await Tokens(replica(database, clock), clock).verify(token)


async def test_the_published_keys_hold_nothing_private(database: Database, clock: ManualClock) -> None:
    keys = replica(database, clock)
    await keys.current()
    (published,) = (await keys.jwks())["keys"]
    assert set(published) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    (stored,) = await database.read(lambda connection: connection.execute(select(signing_keys.c.private_key)).scalars().all())
    assert b"kty" not in stored


async def test_the_key_file_may_be_rotated(database: Database, clock: ManualClock) -> None:
    first, _ = await replica(database, clock).current()
    assert (await replica(database, clock, NEW, OLD).current())[0] == first
    with pytest.raises(Misconfigured, match="secret key file"):
        await replica(database, clock, NEW).current()


async def test_a_damaged_key_is_said_to_be_damaged(database: Database, clock: ManualClock) -> None:
    await replica(database, clock).current()
    await database.write(lambda connection: connection.execute(update(signing_keys).values(private_key=b"x" * 200)))
    with pytest.raises(Misconfigured, match="damaged"):
        await replica(database, clock).current()
