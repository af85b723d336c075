"""`remember` and `keep`: what stands under an Idempotency-Key, on every kind of server."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.idempotency import Claimed, Done, Kept, Lost, Reused, Running, Taken, Unkept
from gateway.store.idempotency import Asked, KeepOutcome, RememberOutcome, State, keep, remember
from gateway.store.keys import Keys
from gateway.store.runner import Runner

LEASE_MS, KEEP_MS = 60_000, 86_400_000
ASKED = Asked(Keys().account("ada"), "h1", "f1")
KEY = "qg:{p00}:idempotent:ada:h1"
#: Bytes that are no text of any kind, as a compressed answer has them.
BODY = b'data: {"a": 1}\r\n\r\n\x00\xff'


class Asker:
    """Asks at a clock that only the test moves."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.now_ms = 1_800_000_000_000

    def remember(self, id: str, asked: Asked = ASKED) -> RememberOutcome:
        return self.runner.run(remember(asked, id, lease_ms=LEASE_MS, keep_ms=KEEP_MS, now_ms=self.now_ms))

    def keep(self, id: str, state: State, **outcome: Any) -> KeepOutcome:
        return self.runner.run(keep(ASKED, id, state, keep_ms=KEEP_MS, now_ms=self.now_ms, **outcome))

    def state(self) -> bytes | None:
        found: Any = self.runner.client.hget(KEY, "state")
        return bytes(found) if found is not None else None


@pytest.fixture
def asker(runner: Runner) -> Asker:
    return Asker(runner)


def test_the_first_to_ask_makes_the_call_and_others_hear_that_it_runs(asker: Asker) -> None:
    assert asker.remember("r1") == Claimed("r1")
    assert asker.remember("r2") == Running("r2", "r1")
    assert asker.state() == b"running"


def test_an_outcome_is_given_to_whoever_asks_as_it_was_sent(asker: Asker) -> None:
    asker.remember("r1")

    assert asker.keep("r1", "done", status=201, headers=b"a: b\nc: d: e", body=BODY) == Kept("r1")
    assert asker.remember("r2") == Done("r2", "r1", 201, b"a: b\nc: d: e", BODY)
    assert asker.remember("r1") == Done("r1", "r1", 201, b"a: b\nc: d: e", BODY)


def test_another_request_may_not_use_the_key_whatever_became_of_the_call(asker: Asker) -> None:
    other = ASKED._replace(fingerprint="f2")
    asker.remember("r1")
    assert asker.remember("r2", other) == Reused("r2", "r1")
    asker.keep("r1", "done", status=200)
    assert asker.remember("r2", other) == Reused("r2", "r1")


def test_another_key_or_account_is_another_claim(asker: Asker) -> None:
    asker.remember("r1")

    assert asker.remember("r2", ASKED._replace(hash="h2")) == Claimed("r2")
    assert asker.remember("r3", ASKED._replace(account_key=Keys().account("bob"))) == Claimed("r3")


def test_a_claim_whose_lease_is_over_is_lost_and_nobody_elses(asker: Asker) -> None:
    asker.remember("r1")
    asker.now_ms += LEASE_MS - 1
    assert asker.remember("r2") == Running("r2", "r1")

    asker.now_ms += 1
    assert asker.remember("r3") == Lost("r3", "r1")
    assert asker.remember("r4") == Lost("r4", "r1")
    assert asker.state() == b"lost"


def test_a_renewal_lengthens_the_lease(asker: Asker) -> None:
    asker.remember("r1")
    asker.now_ms += LEASE_MS - 1
    assert asker.remember("r1") == Claimed("r1")

    asker.now_ms += LEASE_MS - 1
    assert asker.remember("r2") == Running("r2", "r1")


def test_a_gateway_that_was_only_slow_may_still_say_what_became_of_its_call(asker: Asker) -> None:
    asker.remember("r1")
    asker.now_ms += LEASE_MS
    asker.remember("r2")

    assert asker.remember("r1") == Claimed("r1")
    assert asker.keep("r1", "done", status=200) == Kept("r1")
    assert asker.remember("r2") == Done("r2", "r1", 200, b"", b"")


def test_an_answer_that_was_not_kept_leaves_its_status(asker: Asker) -> None:
    asker.remember("r1")
    asker.keep("r1", "unkept", status=200)

    assert asker.remember("r2") == Unkept("r2", "r1", 200)


def test_a_key_that_was_set_free_may_be_used_again(asker: Asker) -> None:
    asker.remember("r1")
    assert asker.keep("r1", "free") == Kept("r1")
    assert asker.keep("r1", "free") == Kept("r1")

    assert asker.remember("r2", ASKED._replace(fingerprint="f2")) == Claimed("r2")


def test_an_outcome_does_not_end_another_calls_claim(asker: Asker) -> None:
    """Redis lost its data, and somebody else has claimed the key since."""
    asker.remember("r2")

    assert asker.keep("r1", "done", status=200) == Taken("r1", "r2")
    assert asker.keep("r1", "free") == Taken("r1", "r2")
    assert asker.remember("r3") == Running("r3", "r2")


def test_a_claim_outlives_its_lease_and_an_outcome_its_time(asker: Asker) -> None:
    client: Any = asker.runner.client
    asker.remember("r1")
    assert KEEP_MS < client.pttl(KEY) <= KEEP_MS + LEASE_MS
    asker.keep("r1", "done", status=200)
    assert KEEP_MS - LEASE_MS < client.pttl(KEY) <= KEEP_MS


def test_redis_cli_shows_words(asker: Asker) -> None:
    asker.remember("r1")
    asker.keep("r1", "done", status=200, headers=b"content-type: text/plain", body=b"Hello.")

    fields: Any = asker.runner.client.hgetall(KEY)
    assert fields == {
        b"fingerprint": b"f1", b"reservation": b"r1", b"state": b"done", b"status": b"200",
        b"ended_at": b"1800000000000", b"headers": b"content-type: text/plain", b"body": b"Hello.",
    }  # fmt: skip
