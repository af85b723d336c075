"""Events as the scripts write them, read into what the ledger records."""

from __future__ import annotations

import pytest

from gateway.domain.event import KINDS, Entry, Event, MalformedEvent, UsageFacts, read_event

GRANT = {
    "kind": "grant",
    "id": "grant:ada t1",
    "account": "ada",
    "at": "1000",
    "entries": "TOP_UP credits:t1 50",
    "reason": "paid",
}
USAGE = {
    "kind": "usage", "id": "r1", "account": "ada", "at": "2000",
    "entries": "USAGE day:2026-11-20 -5; USAGE credits:signup -2; WRITE_OFF overdraft -1",
    "reservation": "r1", "outcome": "settled", "operation": "chat", "model": "m1", "route": "/v1/chat",
    "key": "qg_12345678", "price_version": "p1", "day": "2026-11-20", "input": "11", "cached": "5", "cache_write": "3",
    "output": "7", "reasoning": "2", "cost": "8", "written_off": "1", "estimated": "0", "status": "200",
    "started_at": "1500",
}  # fmt: skip


def test_a_grant_is_read_with_its_entry_and_its_reason() -> None:
    assert read_event(GRANT) == Event(
        id="grant:ada t1", kind="grant", account="ada", at_ms=1000, entries=(Entry("TOP_UP", "credits:t1", 50),),
        usage=None, reason="paid", tier=None, zone=None,
    )  # fmt: skip


def test_a_call_is_read_with_all_it_used_and_an_entry_for_each_bucket() -> None:
    event = read_event(USAGE)

    assert event.entries == (
        Entry("USAGE", "day:2026-11-20", -5),
        Entry("USAGE", "credits:signup", -2),
        Entry("WRITE_OFF", "overdraft", -1),
    )
    assert event.usage == UsageFacts(
        reservation_id="r1", outcome="settled", operation="chat", model="m1", route="/v1/chat", key="qg_12345678",
        price_version="p1", local_day="2026-11-20", input_tokens=11, cached_tokens=5, cache_write_tokens=3,
        output_tokens=7, reasoning_tokens=2, cost=8, written_off=1, estimated=False, status=200, started_at_ms=1500,
    )  # fmt: skip


def test_nested_counts_are_not_counted_twice_in_the_total() -> None:
    usage = read_event(USAGE).usage

    assert usage is not None
    assert usage.total_tokens == 18


@pytest.mark.parametrize(("written", "estimated"), [("1", True), ("0", False)])
def test_an_estimate_is_marked(written: str, estimated: bool) -> None:
    usage = read_event(USAGE | {"estimated": written}).usage

    assert usage is not None
    assert usage.estimated is estimated


def test_an_opening_tells_tier_and_zone() -> None:
    event = read_event(GRANT | {"kind": "opening", "tier": "free", "zone": "Asia/Jakarta", "entries": ""})

    assert (event.tier, event.zone, event.usage, event.entries) == ("free", "Asia/Jakarta", None, ())


def test_a_free_call_has_usage_and_no_entry() -> None:
    event = read_event(USAGE | {"entries": "", "cost": "0"})

    assert event.entries == ()
    assert event.usage is not None


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_entry_is_read(kind: str) -> None:
    assert read_event(GRANT | {"entries": f"{kind} credits:x -1"}).entries == (Entry(kind, "credits:x", -1),)


@pytest.mark.parametrize("name", ["kind", "id", "account", "at", "entries"])
def test_an_event_without_a_field_is_malformed_and_the_field_is_named(name: str) -> None:
    with pytest.raises(MalformedEvent, match=f"'{name}'"):
        read_event({key: value for key, value in GRANT.items() if key != name})


@pytest.mark.parametrize("name", [key for key in USAGE if key not in GRANT])
def test_a_call_without_a_fact_is_malformed_and_the_fact_is_named(name: str) -> None:
    with pytest.raises(MalformedEvent, match=f"'{name}'"):
        read_event({key: value for key, value in USAGE.items() if key != name})


@pytest.mark.parametrize(
    "change",
    [
        {"at": ""},
        {"at": "1.5"},
        {"at": "soon"},
        {"entries": "TOP_UP credits:t1"},
        {"entries": "TOP_UP credits:t1 many"},
        {"entries": "TOP_UP credits:t1 1.5"},
        {"entries": "TOP_UP credits: t1 5"},
        {"entries": "GIFT credits:t1 5"},
        {"entries": "top_up credits:t1 5"},
        {"entries": "TOP_UP credits:t1 5;"},
    ],
)
def test_what_is_no_event_is_malformed(change: dict[str, str]) -> None:
    with pytest.raises(MalformedEvent):
        read_event(GRANT | change)


@pytest.mark.parametrize("name", ["input", "output", "cost", "written_off", "status", "started_at"])
def test_a_count_that_is_no_number_is_malformed(name: str) -> None:
    with pytest.raises(MalformedEvent):
        read_event(USAGE | {name: "many"})


@pytest.mark.parametrize(
    "change",
    [
        {"at": "-1"},
        {"at": str(253_402_300_800_000)},
        {"started_at": str(10**20)},
        {"input": str(2**63)},
        {"cost": str(-(2**63))},
        {"input": str(2**62), "output": str(2**62)},
        {"entries": f"USAGE day:2026-11-20 {2**63}"},
    ],
)
def test_a_number_that_no_ledger_can_keep_is_malformed(change: dict[str, str]) -> None:
    with pytest.raises(MalformedEvent, match="is not from"):
        read_event(USAGE | change)


def test_the_largest_numbers_that_a_ledger_keeps_are_read() -> None:
    event = read_event(USAGE | {"at": "253402300799999", "cost": str(2**63 - 1), "input": "0", "output": "-5"})

    assert event.usage is not None
    assert (event.at_ms, event.usage.cost, event.usage.total_tokens) == (253_402_300_799_999, 2**63 - 1, -5)


@pytest.mark.parametrize(
    ("earlier", "later"), [("7-0", "7-1"), ("7-9", "7-10"), ("7-63", "8-0"), ("1790000000000-5", "1790000000001-0")]
)
def test_events_have_the_order_of_their_stream(earlier: str, later: str) -> None:
    assert 0 < read_event(GRANT, earlier).position < read_event(GRANT, later).position < 2**63


def test_a_stream_id_that_is_none_is_malformed() -> None:
    with pytest.raises(MalformedEvent):
        read_event(GRANT, "yesterday-1")


@pytest.mark.parametrize("name", ["audio_ms", "images", "held", "first_held"])
def test_what_an_older_gateway_did_not_tell_is_nothing(name: str) -> None:
    known, unknown = read_event(USAGE | {name: "7"}).usage, read_event(USAGE).usage

    assert getattr(known, name) == 7
    assert getattr(unknown, name) == 0


@pytest.mark.parametrize("name", ["session", "purpose", "metadata", "shadow"])
def test_what_nobody_said_of_a_call_is_empty(name: str) -> None:
    said, unsaid = read_event(USAGE | {name: "a b; c=d"}).usage, read_event(USAGE).usage

    assert getattr(said, name) == "a b; c=d"
    assert getattr(unsaid, name) == ""


def test_tokens_that_are_neither_input_nor_output_count_in_the_total() -> None:
    reported, usual = read_event(USAGE | {"reported": "100"}).usage, read_event(USAGE).usage

    assert reported is not None
    assert usual is not None
    assert (reported.reported_tokens, reported.total_tokens) == (100, 118)
    assert (usual.reported_tokens, usual.total_tokens) == (0, 18)


def test_only_an_event_about_it_carries_an_accounts_status() -> None:
    assert read_event(GRANT | {"kind": "status", "entries": "", "status": "suspended"}).status == "suspended"
    assert read_event(USAGE).status is None
    assert read_event(GRANT).status is None
    with pytest.raises(MalformedEvent, match="'status'"):
        read_event(GRANT | {"kind": "status"})
