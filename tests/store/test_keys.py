"""Names of keys: one account is one slot of a Redis Cluster."""

from __future__ import annotations

from collections import Counter

import pytest
from redis.crc import key_slot

from gateway.store.keys import Keys


def test_names_are_those_of_the_manual() -> None:
    keys = Keys()

    assert keys.account("demo") == "qg:{p00}:account:demo"
    assert keys.of_account("demo", "day:2026-11-20") == "qg:{p00}:day:demo:2026-11-20"
    assert keys.of_account("demo", "month:2026-11") == "qg:{p00}:month:demo:2026-11"
    assert keys.of_account("demo", "credits") == "qg:{p00}:credits:demo"
    assert keys.of_account("demo", "credits-order") == "qg:{p00}:credits-order:demo"
    assert Keys.of_partition("p07", "events") == "qg:{p07}:events"
    assert Keys.of_partition("p07", "hold:r1") == "qg:{p07}:hold:r1"
    assert Keys.api_key("ab12") == "qg:key:ab12"


def test_a_partition_is_the_crc16_of_the_account() -> None:
    # CRC16/XMODEM of "123456789" is 0x31C3, as the specification of Redis Cluster says.
    assert Keys(100).partition("123456789") == f"p{0x31C3 % 100:02d}"
    assert Keys(7).partition("123456789") == f"p{0x31C3 % 7:02d}"


@pytest.mark.parametrize("partitions", [1, 2, 10, 100])
def test_every_account_is_in_one_of_the_partitions(partitions: int) -> None:
    keys = Keys(partitions)

    found = Counter(keys.partition(f"user-{number}") for number in range(5000))

    assert sorted(found) == keys.all_partitions()
    assert len(keys.all_partitions()) == partitions
    assert max(found.values()) < 2 * 5000 / partitions


@pytest.mark.parametrize("account", ["ada", "a:b", "{p99}", "}{", "{}", "Ådå-🦆", "x" * 200])
@pytest.mark.parametrize("partitions", [1, 16])
def test_all_keys_of_an_account_and_its_partition_are_in_one_slot(account: str, partitions: int) -> None:
    keys = Keys(partitions)
    names = [
        keys.account(account),
        *(keys.of_account(account, name) for name in ("day:2026-11-20", "month:2026-11", "credits", "grants")),
        *(Keys.of_partition(keys.partition(account), name) for name in ("events", "holds", "hold:r1", "done:r1")),
    ]

    assert len({key_slot(name.encode()) for name in names}) == 1
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("one", "other"), [("a", "a:2026-11-20"), ("a:b", "a"), ("{p00}", "p00"), ("A", "a")])
def test_two_accounts_never_share_a_key(one: str, other: str) -> None:
    names = ("day:2026-11-20", "month:2026-11", "credits", "credits-order", "grants")

    def of(account: str) -> set[str]:
        return {Keys().account(account), *(Keys().of_account(account, name) for name in names)}

    assert of(one) & of(other) == set()
