"""The loader: each script becomes one self-contained text, as each kind of server wants it."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest

from gateway.store.keys import Keys
from gateway.store.loader import FOLDER, SCRIPTS, load, load_all
from gateway.store.runner import Runner

PARTS = sorted(path.stem for path in (FOLDER / "lib").glob("*.lua"))


#: What a bundle calls a function of a part: `lib/buckets.lua` defines `buckets.plan`, a bundle `buckets_plan`.
OFFERED = {
    f"{part}_{name}"
    for part in PARTS
    for name in re.findall(rf"^function {part}\.(\w+)", (FOLDER / "lib" / f"{part}.lua").read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_uses_stands_once_and_before_its_use_and_nothing_else_does(name: str) -> None:
    text = load(name, flagged=False).text

    for function in OFFERED:
        places = [found.start() for found in re.finditer(rf"(?<!\w){function}\b", text)]
        if places:
            assert text[places[0] - len("local function ") : places[0]] == "local function ", function
            assert len(re.findall(rf"^local function {function}\b", text, re.MULTILINE)) == 1
            assert len(places) > 1, f"{function} is made for each call and used by none"
    assert "require" not in text


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_bundle_names_no_part_any_more(name: str) -> None:
    code = re.sub(r'--.*|"[^"]*"', "", load(name, flagged=False).text)

    for part in PARTS:
        offered = {function.removeprefix(f"{part}_") for function in OFFERED if function.startswith(f"{part}_")}
        assert not offered & set(re.findall(rf"(?<![\w.]){part}\.(\w+)", code))


def test_every_function_of_every_part_is_used_by_some_script() -> None:
    texts = [load(name, flagged=False).text for name in SCRIPTS]

    assert [function for function in sorted(OFFERED) if not any(f" {function}(" in text for text in texts)] == []


@pytest.mark.parametrize(
    ("version", "flagged"), [("6.2.14", False), ("7.0.15", True), ("7.4.0", True), ("8.2", True), ("10.0.1", True)]
)
def test_only_servers_that_know_the_flag_line_get_it(version: str, flagged: bool) -> None:
    scripts = load_all(version)

    assert tuple(scripts) == SCRIPTS
    assert {script.text.startswith("#!lua\n") for script in scripts.values()} == {flagged}
    assert {"#!lua" in script.text[1:] for script in scripts.values()} == {False}


@pytest.mark.parametrize("version", ["6.2.14", "7.0.15"])
def test_a_script_is_named_by_the_hash_that_the_server_will_give_it(version: str) -> None:
    for script in load_all(version).values():
        assert script.sha == hashlib.sha1(script.text.encode()).hexdigest()


def test_every_script_loads_under_its_hash(runner: Runner) -> None:
    version = "6.2" if type(runner.client).__module__.startswith("fakeredis") else server_version(runner)

    for script in load_all(version).values():
        assert runner.client.script_load(script.text) in (script.sha, script.sha.encode())


@pytest.mark.parametrize("account", ["ada", "a:b:2026-11-20", "{p99}", "}:account:{", "Ådå-🦆"])
def test_lua_and_python_name_the_same_keys(runner: Runner, account: str) -> None:
    keys = Keys(partitions=97)
    partition = keys.partition(account)

    assert names_in_lua(runner, keys.account(account)) == {
        "account": keys.account(account),
        "prefix": keys.account(account).removesuffix(f"account:{account}"),
        "id": account,
        "credits": keys.of_account(account, "credits"),
        "order": keys.of_account(account, "credits-order"),
        "grants": keys.of_account(account, "grants"),
        "rate": Keys.of_partition(partition, "rate:"),
        "slots": Keys.of_partition(partition, "slots:"),
        "holds": Keys.of_partition(partition, "holds"),
        "events": Keys.of_partition(partition, "events"),
        "day": keys.of_account(account, "day:2026-11-20"),
        "month": keys.of_account(account, "month:2026-11"),
        "hold": Keys.of_partition(partition, "hold:r1"),
        "done": Keys.of_partition(partition, "done:r1"),
    }


def names_in_lua(runner: Runner, account_key: str) -> dict[str, str]:
    """Every name that `lua/lib/keys.lua` derives from an account's key."""
    part = (FOLDER / "lib" / "keys.lua").read_text(encoding="utf-8")
    script = f"""
        local keys = (function() {part} end)()
        local k = keys.of(KEYS[1])
        k.day, k.month = keys.period(k, "day", "2026-11-20"), keys.period(k, "month", "2026-11")
        k.hold, k.done = keys.hold(k, "r1"), keys.done(k, "r1")
        local names = {{}}
        for name, key in pairs(k) do
          names[#names + 1], names[#names + 2] = name, key
        end
        return names
    """
    found: Any = runner.client.eval(script, 1, account_key)
    words = [word.decode() for word in found]
    return dict(zip(words[::2], words[1::2], strict=True))


def server_version(runner: Runner) -> str:
    info: Any = runner.client.info("server")
    return str(info["redis_version"])
