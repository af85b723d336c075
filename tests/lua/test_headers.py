"""Every script opens with its purpose, KEYS, ARGV, replies and events; here its header is held true.

A header says what the wrapper in `gateway.store` must send and understand. So whoever changes one of script,
header and wrapper without the others hears of it.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.domain.acts import UseLine
from gateway.domain.errors import StoreUnready
from gateway.domain.schedule import schedule
from gateway.domain.usage import Usage
from gateway.store import acts, calls, idempotency, notes, repair
from gateway.store.loader import FOLDER, SCRIPTS, load
from gateway.store.peek import read_account
from tests.lua.caller import EVERY_KIND, FREE, NOON_MS

SECTIONS = ("KEYS", "ARGV", "Replies", "Events")
KEY = "qg:{p00}:account:ada"
ASKED = idempotency.Asked(KEY, "hash", "fingerprint")
TERMS = calls.terms("chat", "/v1/chat", "prices-1", EVERY_KIND, schedule(EVERY_KIND, NOON_MS))

PLAN = repair.Plan(
    {"tier": "free"}, [("day", "2026-11-20", 5, 4, 1, 9)], [("signup", 1, 0, 0, 1)], {"signup": "amount=1"}, ["r2"],
    [("r1", 1, "day:2026-11-20=1", 0)], [("opening", "e1", 0, "SIGNUP credits:signup 1", {"reason": "lost"})],
)  # fmt: skip

#: One call of each script's wrapper.
CALLS: dict[str, calls.Call[Any]] = {
    "reserve": calls.reserve(KEY, "r1", 1, TERMS),
    "settle": calls.settle(KEY, "r1", 1, Usage()),
    "release": calls.release(KEY, "r1"),
    "renew": calls.renew(KEY, "r1", 1),
    "expire": calls.expire("qg:{p00}:holds"),
    "grant": calls.grant(KEY, "g1", 1, kind="TOP_UP", reason="paid", tier=FREE),
    "open": calls.open_account(KEY, FREE),
    "peek": calls.peek(KEY),
    "limits": calls.limits(KEY, ()),
    "override": calls.override(KEY, 2, 1, 9),
    "remember": idempotency.remember(ASKED, "r1", lease_ms=1, keep_ms=1),
    "keep": idempotency.keep(ASKED, "r1", "done", keep_ms=1),
    "use": acts.use(KEY, "u1", [UseLine(1), UseLine(2, "tool", "{}")], TERMS),
    "void": acts.void(KEY, "v1", "g1", "paid back"),
    "status": acts.set_status(KEY, "suspended"),
    "report": acts.report(KEY, "p1", 5, FREE, schedule(FREE, NOON_MS).day),
    "reset": acts.reset(KEY, "z1", EVERY_KIND, schedule(EVERY_KIND, NOON_MS)),
    "annotate": notes.annotate(KEY, "r1", "a site", "{}"),
    "adjust": acts.adjust(KEY, "a1", 1, "mistake"),
    "inspect": repair.inspect(KEY, ["r1"]),
    "restore": repair.restore(KEY, "stamp", PLAN, ["r1"]),
}

#: What a wrapper sends, as part of the terms that many calls share, though its script has no use for it.
UNREAD = {"use": {"on_lost"}, "annotate": {"now_ms"}}

#: What stands where a reply has this name, when it is not an integer.
WORDS: dict[str, Any] = dict.fromkeys(
    (
        "id",
        "policy",
        "status",
        "tier",
        "zone",
        "anchor",
        "how",
        "before",
        "other",
        "headers",
        "body",
        "stamp",
        "last",
    ),
    b"word",
) | {"states": [1, 2, 3, 0], "violated": [b"word"], "opened": [b"word"]}
TABLES: dict[str, list[Any]] = {
    "account": [
        word
        for name in ("version", "granted", "spent", "held", "used_tokens", "requests", "first_seen", "last_seen")
        for word in (name.encode(), b"1")
    ]
    + [b"tier", b"free", b"zone", b"", b"status", b"active", b"day", b"2026-11-20", b"day_left", b"1"],
    "periods": [b"day", [b"amount", b"5", b"left", b"1", b"held", b"0", b"ends_at", b"9"]],
    "credits": [b"signup", b"1"],
    "order": [b"0000000000001/signup", b"9999999999"],
    "open": [[b"r1", b"9", [b"account", b"ada", b"parts", b"day:2026-11-20=1"]]],
    "grants": [b"signup", b"amount=1 priority=0 expires_at=0 granted_at=1"],
}


@dataclass(frozen=True)
class Header:
    """The comment that a script opens with."""

    name: str
    purpose: str
    sections: dict[str, str]
    code: str

    @classmethod
    def of(cls, name: str) -> Header:
        lines = (FOLDER / f"{name}.lua").read_text(encoding="utf-8").splitlines()
        length = next(number for number, line in enumerate(lines) if not line.startswith("--"))
        comment = [line[2:].removeprefix(" ") for line in lines[:length]]
        title, _, purpose = comment[0].partition(": ")
        sections: dict[str, str] = {}
        section = None
        for line in comment[1:]:
            word = line.partition(" ")[0]
            section = word if word in SECTIONS else section
            if section is not None:
                sections[section] = f"{sections.get(section, '')}{line.removeprefix(section)}\n"
        return cls(title, purpose, sections, "\n".join(line.partition(" --")[0] for line in lines[length:]))

    def argv(self) -> list[str | list[str]]:
        """The names of the arguments, in order: each stands behind its number. Repeated ones, written as "27.. things,
        2 words each: kind amount", are a list: their number comes first, then the words of each."""
        names: list[str | list[str]] = []
        place, text = 1, self.sections["ARGV"]
        while found := re.search(rf"(?:^|\s){place}(?: +([a-z_]+)|\.\. [a-z ]+, (\d+) words each: ([a-z_ ]+))", text):
            text = text[found.end() :]
            name, count, words = found.groups()
            place += 1
            names.append(name if name is not None else words.split()[: int(count)])
        return names

    def sends(self, args: tuple[str | int | bytes, ...]) -> bool:
        """Whether arguments are as many as the header says, repeated ones as often as their number says."""
        rest = list(args)
        for name in self.argv():
            number = rest.pop(0)
            if isinstance(name, list):
                del rest[: int(number) * len(name)]
        return not rest

    def replies(self) -> list[list[str]]:
        """Each reply: its status word, then the names of its fields."""
        return [
            [part.strip().strip('"') for part in reply.split(",")]
            for reply in re.findall(r"\{(.+?)\}", self.sections["Replies"])
        ]


@pytest.fixture(params=SCRIPTS)
def header(request: pytest.FixtureRequest) -> Header:
    return Header.of(request.param)


def test_every_file_is_a_script_that_is_loaded_and_has_a_wrapper() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.lua")) == sorted(SCRIPTS) == sorted(CALLS)


def test_a_header_has_purpose_keys_arguments_replies_and_events(header: Header, request: pytest.FixtureRequest) -> None:
    assert header.name == request.node.callspec.params["header"]
    assert header.purpose
    assert tuple(header.sections) == SECTIONS


def test_a_script_takes_the_one_key_that_its_wrapper_sends(header: Header) -> None:
    assert re.findall(r"(\d+) +([a-z]+)", header.sections["KEYS"])[0] == (
        "1",
        "holds" if is_sweep(header) else "account",
    )
    assert set(re.findall(r"KEYS\[(.+?)\]", header.code)) == {"1"}


def test_a_script_takes_as_many_arguments_as_its_wrapper_sends(header: Header) -> None:
    assert header.sends(CALLS[header.name].args), header.argv()


def test_a_script_reads_each_argument_that_its_header_names(header: Header) -> None:
    argv = header.argv()
    code = header.code.replace("policies_at", str(len(argv)))  # For a caller without allowances …
    code = code.replace("terms_at", "13")  # … and without lines.
    read = {place(words) for words in re.findall(r"ARGV\[([^]]+)\]", code) if not words.startswith("at")}
    read |= {place(first) + n for first in re.findall(r"window\(ARGV, ([^)]+)\)", code) for n in range(5)}
    read |= {place(first) for first in re.findall(r"(?:allowances|fields|sum_of)\(ARGV, ([^)]+)\)", code)}
    # A list is read from its place on, or from where the one before it ended.
    read |= {int(first) for first in re.findall(r"lists\.\w+\(ARGV, (\d+)\)", code)}
    for _ in re.findall(r"lists\.\w+\(ARGV, at", code):
        read.add(max(read) + 1)

    unread = {argv.index(name) + 1 for name in UNREAD.get(header.name, ())}
    assert sorted(read | unread) == list(range(1, len(argv) + 1))
    assert not read & unread


def test_a_call_begins_with_its_id_and_its_clock(header: Header) -> None:
    call = CALLS[header.name]

    assert str(header.argv()[0]).endswith("id")
    assert header.argv()[1] == "now_ms"
    assert call.args[:2] == (call.id, "")


def test_a_header_lists_the_replies_that_its_script_gives(header: Header) -> None:
    code = header.code
    if "admission." in code:  # Some of its replies are made by the parts that it shares with others.
        bundle = load(header.name, flagged=False).text
        made = r"^local function (?:admission_stale|denial_reply)\(.*?^end$"
        code += "".join(re.findall(made, bundle, re.MULTILINE | re.DOTALL))
    given = {word for reply in re.findall(r"return \{(.+?)[,}]", code) for word in words_of(reply, code)}

    assert given == {word for word, *_ in header.replies()}


def test_every_reply_echoes_the_id(header: Header) -> None:
    assert {fields[0] for _, *fields in header.replies()} == {"id"}


def test_a_wrapper_understands_every_reply_that_a_header_lists(header: Header) -> None:
    for word, *fields in header.replies():
        words = WORDS | ({"before": 7} if word == "used" else {})  # An amount there, a status elsewhere.
        sample = [word.encode(), *(words.get(name, TABLES.get(name, 7)) for name in fields)]
        with contextlib.suppress(StoreUnready):  # That is how "unready" is understood.
            CALLS[header.name].parse(sample)  # Raises ScriptFault at what no one understands.


def test_a_wrapper_expects_no_reply_that_a_header_does_not_list(header: Header) -> None:
    parse = read_account if header.name == "peek" else CALLS[header.name].parse

    assert status_words(parse) == {word for word, *_ in header.replies()}


def place(words: str) -> int:
    """The index of an argument, written as a number or as a sum of two: "13 + 8"."""
    return sum(int(number) for number in words.split(" + "))


def is_sweep(header: Header) -> bool:
    """True for the script that works on a partition, not on an account."""
    return header.name == "expire"


def words_of(expression: str, code: str) -> set[str]:
    """The status words that the first element of a reply may be: a literal, or what its variable is set to."""
    expression = expression.strip()
    if expression.startswith('"'):
        return {expression.strip('"')}
    variable = expression.split()[-1]
    return set(re.findall(rf'\b{variable} = "(\w+)"', code)) | set(re.findall(r'"(\w+)"', expression))


def status_words(parse: Callable[..., Any]) -> set[str]:
    """The words that a parser matches as the first element of a reply."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(parse)))
    firsts = [node.patterns[0] for node in ast.walk(tree) if isinstance(node, ast.MatchSequence)]
    return {
        constant.value.decode()
        for first in firsts
        for constant in ast.walk(first)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, bytes)
    }
