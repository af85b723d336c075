"""Imports: all of a file or nothing, once, whatever it was saved by."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import select

from gateway.accounts import balances, profile
from gateway.accounts.bulk_import import Imported, ImportRefused, bulk_import
from gateway.accounts.import_file import grant_id_of
from gateway.accounts.system import System
from gateway.domain.errors import RefusedInput
from gateway.domain.tier import MAX_UNITS
from gateway.ledger.tables import accounts, audit_log
from tests.accounts.calls_made import drain, open_account


def run(system: System, text: str | bytes, **how: Any) -> Imported:
    return bulk_import(system, text if isinstance(text, bytes) else text.encode(), "cli:root", **how)


def faults(system: System, text: str | bytes) -> list[tuple[int, str, str]]:
    with pytest.raises(ImportRefused) as refused:
        run(system, text)
    assert system.redis.keys("qg:{p00}:account:*") == []
    with system.ledger.connect() as connection:
        assert connection.execute(select(audit_log)).all() == []
    return [(fault.line, fault.column, fault.what) for fault in refused.value.faults]


def emails(system: System) -> dict[str, str]:
    with system.ledger.connect() as connection:
        return {row.id: row.email for row in connection.execute(select(accounts.c.id, accounts.c.email))}


# ── what it does ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_accounts_are_opened_credited_and_addressed(system: System) -> None:
    done = run(
        system,
        "id,tier,zone,email,credits,grant_id,reason,expires\n"
        "ada,pro,Asia/Tokyo,ada@example.com,50,welcome,moved over,30d\n"
        "bob,,,,,,,\n",
    )

    assert done == Imported(2, opened=2, moved=0, credited=1, units=50, credited_before=0, emails=1)
    ada, bob = balances.read(system, "ada").account, balances.read(system, "bob").account
    assert (ada.tier, ada.zone, ada.granted) == ("pro", "Asia/Tokyo", 1_000_050)
    (welcome,) = [bucket for bucket in ada.buckets if bucket.id == "welcome"]
    assert welcome.left == 50
    assert abs((welcome.ends_at_ms or 0) / 1000 - time.time() - 30 * 86_400) < 60
    assert (bob.tier, bob.zone, bob.granted) == ("free", "", 15)
    assert emails(system) == {"ada": "ada@example.com"}


def test_an_address_that_came_before_its_account_stays_when_the_ledger_hears_of_it(system: System) -> None:
    run(system, "id,email,tier\nada,ada@example.com,pro\n")

    drain(system)

    with system.ledger.connect() as connection:
        row = connection.execute(select(accounts)).mappings().one()
    assert (row["id"], row["email"], row["tier"], row["granted"]) == ("ada", "ada@example.com", "pro", 1_000_000)


def test_known_accounts_are_moved_where_the_file_says_so_and_stay_where_it_does_not(system: System) -> None:
    for account in ("ada", "bob", "carl"):
        open_account(system, account)

    done = run(system, "id,tier,zone\nada,pro,\nbob,,Asia/Tokyo\ncarl,free,\n")

    assert (done.opened, done.moved) == (0, 2)
    found = [balances.read(system, account).account for account in ("ada", "bob", "carl")]
    assert [(account.tier, account.zone) for account in found] == [("pro", ""), ("free", "Asia/Tokyo"), ("free", "")]


def test_the_same_file_twice_credits_once(system: System) -> None:
    file = "id,credits,reason\nada,50,\nbob,50,\ncarl,7,a gift\n"
    run(system, file)

    again = run(system, file)

    assert (again.opened, again.credited, again.units, again.credited_before) == (0, 0, 0, 3)
    assert [balances.read(system, account).account.left for account in ("ada", "bob", "carl")] == [65, 65, 22]


def test_a_line_of_another_file_credits_once_too_and_another_reason_credits_again(system: System) -> None:
    run(system, "id,credits\nada,50\n")
    run(system, "\ufeffcredits,id\r\n7,bob\r\n50,ada\r\n")
    assert balances.read(system, "ada").account.left == 65

    run(system, "id,credits,reason\nada,50,a second gift\n")

    assert balances.read(system, "ada").account.left == 115


def test_an_import_that_was_interrupted_is_finished_by_its_repeat(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.accounts.bulk_import.BATCH", 2)
    file = "id,credits,email\n" + "".join(f"a{n},5,a{n}@example.com\n" for n in range(9))
    seen = 0

    def dies(stage: str, more: int) -> None:
        nonlocal seen
        seen += stage == "credited"
        if seen == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(system, file, told=dies)
    assert len(emails(system)) == 0

    done = run(system, file)

    assert (done.credited_before, done.credited) == (4, 5)
    assert {balances.read(system, f"a{n}").account.granted for n in range(9)} == {20}
    assert len(emails(system)) == 9


def test_a_dry_run_says_what_it_would_do_and_does_nothing(system: System) -> None:
    open_account(system, "ada")

    done = run(system, "id,tier,credits,email\nada,pro,5,a@example.com\nbob,,3,\n", dry_run=True)

    assert done == Imported(2, opened=1, moved=1, credited=2, units=8, credited_before=0, emails=1)
    assert balances.read(system, "ada").account.tier == "free"
    assert system.redis.exists("qg:{p00}:account:bob") == 0
    assert emails(system) == {}


def test_an_import_is_noted_with_its_file_and_what_it_did(system: System) -> None:
    run(system, "id,credits\nada,50\n")

    with system.ledger.connect() as connection:
        row = connection.execute(select(audit_log)).mappings().one()
    assert (row["actor"], row["action"]) == ("cli:root", "accounts.import")
    assert '"units": 50' in row["after"]
    assert "ada" not in str(dict(row))


@pytest.mark.parametrize(
    "file",
    [
        b'\xef\xbb\xbfid,reason,credits\r\nada,"two, parts",3\r\n\r\n',
        b'id,reason,credits\nada,"two, parts",3',
        b'reason,credits,id\n"two, parts",3,ada\n\n\n',
        b'id , reason , credits\nada , "two, parts" ,3\n'.replace(b' , "', b' ,"').replace(b'" ,', b'",'),
    ],
    ids=["BOM and CRLF", "no last line end", "another order", "spaces"],
)
def test_a_file_is_read_whatever_saved_it(system: System, file: bytes) -> None:
    assert run(system, file).units == 3
    assert grant_id_of(3, "two, parts", "") in {bucket.id for bucket in balances.read(system, "ada").account.buckets}


def test_text_that_is_not_ascii_is_taken_as_it_is(system: System) -> None:
    run(system, "id,reason,credits\njosé,赠送,3\n")

    assert balances.read(system, "josé").account.left == 18


# ── what it refuses ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "column", "what"),
    [
        ("a b,,,,,,,", "id", "is no account id"),
        (",free,,,,,,", "id", "is no account id"),
        ("x" * 201 + ",,,,,,,", "id", "is no account id"),
        ("eve,gold,,,,,,", "tier", "'gold' is no tier: free, payg, pro"),
        ("eve,,Asia/Nowhere,,,,,", "zone", "is no time zone"),
        ("eve,,Asia,,,,,", "zone", "is no time zone"),
        ("eve,,,eve,,,,", "email", "name@example.com"),
        ("eve,,,eve@exa mple.com,,,,", "email", "a character that no address has"),
        ("eve,,,,-5,,,", "credits", "is no amount"),
        ("eve,,,,1.5,,,", "credits", "is no amount"),
        ("eve,,,,1e3,,,", "credits", "is no amount"),
        ("eve,,,,٣,,,", "credits", "is no amount"),
        (f"eve,,,,{MAX_UNITS + 1},,,", "credits", "is no amount"),
        ("eve,,,," + "9" * 5000 + ",,,", "credits", "is no amount"),
        (f"eve,,,,{MAX_UNITS - 14},,,", "credits", "cannot be counted"),
        ("eve,,,,5,a=b,,", "grant_id", "printable characters"),
        ("eve,,,,5,,two\tparts,", "reason", "printable characters"),
        ("eve,,,,5,,,yesterday", "expires", "is no expiry"),
        ("eve,,,,5,,,2001-01-01T00:00:00Z", "expires", "in the past"),
        ("eve,,,,,,,30d", "expires", "beside no credits"),
        ("eve,,,,0,g1,,", "grant_id", "beside no credits"),
        ("eve,free", "", "has 2 cell(s), the header has 8"),
        ("eve,,,,,,,,", "", "has 9 cell(s), the header has 8"),
    ],
)
def test_a_bad_line_is_named_with_its_column_and_nothing_is_written(
    system: System, line: str, column: str, what: str
) -> None:
    header = "id,tier,zone,email,credits,grant_id,reason,expires\n"

    ((number, at, said),) = faults(system, f"{header}ada,,,,3,,,\n{line}\n")

    assert (number, at) == (3, column)
    assert what in said


def test_every_fault_of_a_file_is_told_in_the_order_of_its_lines(system: System) -> None:
    found = faults(system, 'id,credits,reason\nada,x,\nbob,1,"two\nlines"\nada,1,\n\ncarl,-1,\n')

    assert [(line, column) for line, column, _ in found] == [
        (2, "credits"), (3, "reason"), (5, "id"), (7, "credits"),
    ]  # fmt: skip
    assert "stands on line 2 too" in found[2][2]


def test_faults_beyond_a_hundred_are_counted(system: System) -> None:
    with pytest.raises(ImportRefused) as refused:
        run(system, "id\n" + "".join(f"a {n}\n" for n in range(150)))

    assert len(refused.value.faults) == 150
    assert str(refused.value).endswith("\n  and 50 more")
    assert "line 101, id:" in str(refused.value)


@pytest.mark.parametrize(
    ("file", "line", "column", "what"),
    [
        ("", 1, "", "is empty"),
        ("\n\n", 1, "", "is empty"),
        ("tier\nfree\n", 1, "id", "is missing"),
        ("id,teir\nada,free\n", 1, "teir", "is no column; known are id, tier"),
        ("id,id\nada,ada\n", 1, "id", "stands there twice"),
        ("id;tier\nada;free\n", 1, "id;tier", "is no column"),
        (b"id,reason\nada,caf\xe9\n", 2, "", "is not UTF-8"),
        ('id\n"ada\n', 2, "", "is not CSV"),
        ("id\n" + "x" * 200_000, 2, "", "is not CSV"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_line(
    system: System, file: str | bytes, line: int, column: str, what: str
) -> None:
    found = faults(system, file)

    assert found[0][:2] == (line, column)
    assert what in found[0][2]


def test_a_grant_id_that_was_credited_with_another_amount_is_refused(system: System) -> None:
    run(system, "id,credits,grant_id\nada,50,g1\n")

    with pytest.raises(ImportRefused, match="g1 was credited before with 50, not 60"):
        run(system, "id,credits,grant_id\nbob,1,g1\nada,60,g1\n")
    assert system.redis.exists("qg:{p00}:account:bob") == 0


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_address_is_set_changed_and_taken_away(system: System) -> None:
    open_account(system)

    for address in ("ada@example.com", "ada+quota@mail.example.com", ""):
        profile.set_email(system, "ada", address)
        assert emails(system)["ada"] == address


@pytest.mark.parametrize(
    "address",
    [
        "ada", "a@b@c", "@x", "x@", "a@x..y", "a@x.y.", "a b@x.y", "a@x.y\r\nBcc: z@x.y", "a" * 330,
        # Mail programs decode these: another recipient, a line of its own, and one that no parser survives.
        "=?us-ascii?q?eve=40x.y=2C?=a@x.y", "=?utf-8?q?a=0D=0ABcc=3A_x?=@x.y", "=?utf-8?q??=@x.y",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(system: System, address: str) -> None:
    open_account(system)

    with pytest.raises(RefusedInput, match="the e-mail address"):
        profile.set_email(system, "ada", address)


def test_an_account_that_is_not_there_gets_no_address(system: System) -> None:
    with pytest.raises(RefusedInput, match="there is no account ada"):
        profile.set_email(system, "ada", "ada@example.com")


# ── how fast ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.soak
def test_a_hundred_thousand_accounts_take_less_than_a_minute(system: System) -> None:
    lines = [f"account-{n},pro,Asia/Jakarta,a{n}@example.com,{n + 1},,a gift,30d" for n in range(100_000)]
    file = "id,tier,zone,email,credits,grant_id,reason,expires\n" + "\n".join(lines)

    started = time.perf_counter()
    done = run(system, file)
    first_s = time.perf_counter() - started
    started = time.perf_counter()
    again = run(system, file)
    print(f"100,000 accounts in {first_s:.1f} s, again in {time.perf_counter() - started:.1f} s")

    assert (done.opened, done.credited, again.credited_before) == (100_000, 100_000, 100_000)
    assert first_s < 60
