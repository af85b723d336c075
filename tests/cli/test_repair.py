"""`quotagate reconcile` and `quotagate restore`."""

from __future__ import annotations

import json
from typing import Any

import redis

from gateway.launch.embedded import embedded_redis
from tests.cli.command import FORKS, Command
from tests.support.config import config_text

pytestmark = FORKS


def flush(quotagate: Command, *keys: str) -> None:
    """Redis forgets these keys, or everything."""
    with embedded_redis(quotagate.data) as url, redis.Redis.from_url(url) as client:
        if keys:
            client.delete(*keys)
        else:
            client.flushall()


def record(quotagate: Command) -> None:
    """What a worker would do: everything that waits goes into the ledger."""
    from gateway.launch.system import open_system
    from gateway.ledger.record import record as commit
    from gateway.store.inbox import Inbox
    from worker.drain import drain_inbox

    with open_system(quotagate.config, quotagate.data) as system:
        inbox = Inbox(system.redis, "p00", "test")
        inbox.open()
        drain_inbox(inbox, lambda events: commit(system.ledger, events))


def test_a_system_that_agrees_is_said_to(quotagate: Command) -> None:
    quotagate.key("ada")

    done = quotagate("reconcile")

    assert (done.code, done.out, done.err) == (0, "Redis and the ledger agree\n", "")
    assert quotagate("reconcile", "--json").out == ""


def test_a_difference_is_a_line_and_exit_code_1_until_it_is_mended(quotagate: Command) -> None:
    quotagate.key("ada")
    quotagate.key("bob")
    record(quotagate)
    flush(quotagate, "qg:{p00}:credits:ada")

    found = quotagate("reconcile")
    as_json = quotagate("reconcile", "--json")

    assert found.code == as_json.code == 1
    assert found.out == "ada: balance: credits:signup has 0 in Redis, left and held, and 15 by the ledger [differs]\n"
    assert found.err == "1 difference(s) are left\n"
    (line,) = [json.loads(line) for line in as_json.out.splitlines()]
    said: dict[str, Any] = {
        "account": "ada", "kind": "balance", "about": "credits:signup", "redis": 0, "ledger": 15, "mended": False,
    }  # fmt: skip
    assert {name: line[name] for name in said} == said
    assert quotagate("reconcile", "--account", "bob").code == 0
    mended = quotagate("reconcile", "--fix")
    assert (mended.code, mended.out.splitlines()[-1]) == (0, "Redis and the ledger agree")
    assert "[mended]" in mended.out
    assert quotagate("reconcile").code == 0


def test_an_emptied_redis_is_restored_before_anything_else(quotagate: Command) -> None:
    quotagate.key("ada")
    record(quotagate)
    before = quotagate("balance", "ada", "--json").only()
    flush(quotagate)

    for words in (("balance", "ada"), ("reconcile",), ("keys", "create", "--user", "ada")):
        done = quotagate(*words)
        assert (done.code, done.out) == (3, "")
        assert "quotagate restore" in done.err

    restored = quotagate("restore")
    assert restored.code == 0
    assert "1 account(s) were restored, 0 were known" in restored.out
    assert "not restored: calls that had not ended" in restored.out
    assert quotagate("balance", "ada", "--json").only() == before
    assert quotagate("restore", "--json").only() == {"restored": 0, "known": 1, "api_keys": 1}


def test_an_account_that_no_one_can_have_is_refused(cold: Command) -> None:
    cold.config.write_text(config_text())

    assert cold("reconcile", "--account", "a b").code == 1
