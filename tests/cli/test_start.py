"""What a command imports before it does anything: a person, and every acceptance test, waits for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import FORKS, Command
from tests.support.processes import CHECKOUT

pytestmark = FORKS

#: What a command says, and then the first names of all the modules that it imported.
_RUN = """
import sys
from gateway.cli.main import main
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def imported(folder: Path, *arguments: str) -> set[str]:
    """The packages that a command of its own process has imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_a_check_of_a_config_imports_neither_redis_nor_the_ledger(cold: Command) -> None:
    found = imported(cold.folder, "check", str(cold.config))

    assert "pydantic" in found
    assert found & {"redis", "sqlalchemy", "alembic", "rq", "rich", "opentelemetry", "prometheus_client"} == set()


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "create", "--user", "ada"),
        ("keys", "list", "--json"),
        ("balance", "ada", "--json"),
        ("usage", "ada", "--json"),
        ("report", "holds", "--json"),
    ],
)
def test_a_command_imports_neither_the_queue_nor_migrations_nor_tables_for_people(
    quotagate: Command, words: tuple[str, ...]
) -> None:
    quotagate.key("ada")  # Which brings the ledger to its newest revision.

    found = imported(quotagate.folder, *words, "--config", str(quotagate.config), "--data", str(quotagate.data))

    assert {"redis", "sqlalchemy"} <= found
    assert found & {"alembic", "rq", "rich", "prometheus_client", "starlette", "uvicorn", "httpx2", "jwt"} == set()
