"""What the documents promise: recipes load, commands exist, links lead somewhere, keys and fields have their words."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main

from gateway.cli.main import app
from gateway.config import parse
from gateway.domain.errors import ConfigError
from gateway.domain.route import DIALECTS
from gateway.proxy.endings import ENDINGS

CHECKOUT = Path(__file__).resolve().parent.parent
README = CHECKOUT / "README.md"
RECIPES = CHECKOUT / "docs/recipes.md"
LUA = CHECKOUT / "lua"
DOCUMENTS = [
    README, *sorted((CHECKOUT / "docs").glob("*.md")),
    *(CHECKOUT / f"{name}/README.md" for name in ("gateway", "lua", "worker")),
]  # fmt: skip
#: What recipes take from the environment.
ENVIRON = {"QUOTAGATE_METRICS_TOKEN": "a-token-of-sixteen"}


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


# ── recipes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def put_into(config: dict[str, Any], recipe: dict[str, Any]) -> dict[str, Any]:
    """The config with a recipe's keys in the tables of the same name, and its routes in place of those of one path."""
    merged = dict(config)
    for name, value in recipe.items():
        if isinstance(value, dict):
            merged[name] = put_into(config.get(name, {}), value)
        elif name == "routes":
            paths = {route["path"] for route in value}
            merged[name] = [route for route in config[name] if route["path"] not in paths] + value
        else:
            merged[name] = value
    return merged


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def loaded(recipe: str) -> tuple[str, ...]:
    """Loads config.toml with a recipe put into it. Returns the warnings."""
    config = tomllib.loads((CHECKOUT / "config.toml").read_text(encoding="utf-8"))
    tables = put_into(config, tomllib.loads(recipe))
    text = "\n".join(f"{json.dumps(name)} = {toml(table)}" for name, table in tables.items())
    return parse(text, "recipe", ENVIRON).warnings


@pytest.mark.parametrize("recipe", [*blocks(README, "toml"), *blocks(RECIPES, "toml")], ids=lambda text: text[:40])
def test_a_recipe_loads_when_it_is_put_into_the_config(recipe: str) -> None:
    assert loaded(recipe) == ()


def test_there_are_recipes_and_a_wrong_one_would_not_load() -> None:
    assert len(blocks(RECIPES, "toml")) >= 12
    with pytest.raises(ConfigError, match=r"tiers\.free\.limits"):
        loaded('[tiers.free]\nlimits = ["60 requests/fortnight"]')


# ── commands and links ───────────────────────────────────────────────────────────────────────────────────────────────


def commands() -> list[str]:
    lines = [line for document in DOCUMENTS for block in blocks(document, "sh") for line in block.splitlines()]
    quoted = [span for document in DOCUMENTS for span in re.findall(r"`([^`\n]+)`", document.read_text("utf-8"))]
    found = (re.match(r"(?:\$ )?(?:\.venv/bin/)?quotagate (.+)", line) for line in (*lines, *quoted))
    return sorted({match[1] for match in found if match})


@pytest.mark.parametrize("line", commands())
def test_a_command_and_its_options_exist(line: str) -> None:
    words = shlex.split(line, comments=True)
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        if not words and command.invoke_without_command:
            return
        assert words, f"{line} is a group of commands"
        command = command.commands[words.pop(0)]

    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, heading = target.partition("#")
        linked = document.parent / name if name else document
        assert linked.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


# ── what is listed is complete ───────────────────────────────────────────────────────────────────────────────────────


def test_the_readme_names_how_a_cut_stream_ends_in_every_dialect() -> None:
    section = README.read_text(encoding="utf-8").partition("### When a stream is cut")[2].partition("\n## ")[0]

    assert set(ENDINGS) <= set(DIALECTS) | {"auto"}
    assert {name for name in ENDINGS if f"`{name}`" not in section} == set()


def test_the_key_schema_names_every_key_that_scripts_derive() -> None:
    schema = (LUA / "README.md").read_text(encoding="utf-8")
    derived = {
        kind
        for script in LUA.rglob("*.lua")
        for kind in re.findall(r'prefix \.\. "([a-z-]+)', script.read_text(encoding="utf-8"))
    }

    assert len(derived) > 8
    assert {kind for kind in derived if f"`qg:{{p00}}:{kind}" not in schema} == set()


@pytest.mark.parametrize("part", ["account", "holds"])
def test_the_key_schema_names_every_field_that_scripts_read(part: str) -> None:
    schema = (LUA / "README.md").read_text(encoding="utf-8")
    source = (LUA / "lib" / f"{part}.lua").read_text(encoding="utf-8")
    calls = re.findall(r'redis\.call\("HMGET",(.*?)\)\n', source, re.DOTALL)
    fields = {field for call in calls for field in re.findall(r'"([a-z_]+)"', call)}

    assert len(fields) > 15
    assert {field for field in fields if f"`{field}`" not in schema} == set()
