"""`quotagate accounts import FILE`."""

from __future__ import annotations

from tests.cli.command import FORKS, Command

pytestmark = FORKS


def test_a_file_is_imported_once_however_often_it_is_given(quotagate: Command) -> None:
    file = quotagate.folder / "accounts.csv"
    file.write_bytes(b"\xef\xbb\xbfid,credits,email\r\nada,50,ada@example.com\r\nbob,7,\r\n")

    dry = quotagate("accounts", "import", str(file), "--dry-run")
    first = quotagate("accounts", "import", str(file))
    again = quotagate("accounts", "import", str(file), "--json").only()

    assert dry.out.startswith("2 account(s): 2 would be opened, 0 would be moved, 2 would be credited with 57")
    assert first.out.startswith("2 account(s): 2 opened, 0 moved, 2 credited with 57 token(s), 0 were credited before")
    assert (again["credited"], again["credited_before"], again["dry_run"]) == (0, 2, False)
    assert quotagate("balance", "ada", "--json").only()["left"] == 65


def test_a_file_with_faults_is_refused_line_by_line(quotagate: Command) -> None:
    file = quotagate.folder / "accounts.csv"
    file.write_text("id,credits\nada,50\nbob,-7\ncarl,x\n")

    done = quotagate("accounts", "import", str(file))

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(
        "quotagate: nothing was imported, the file has 2 fault(s)\n  line 3, credits: '-7' is no"
    )
    assert quotagate("balance", "ada").code == 1


def test_a_file_that_is_not_there_is_refused_in_a_sentence(quotagate: Command) -> None:
    done = quotagate("accounts", "import", "none.csv")

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("quotagate: none.csv cannot be read: ")
