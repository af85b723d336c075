"""What a ledger of an older version held stands in the new one, unchanged."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from gateway.ledger import database, migrate
from gateway.ledger.record import record
from tests.ledger.events import usage

#: The last revision without audio, images and holds.
BEFORE = "0002"
CALL = """
INSERT INTO usage_events (id, reservation_id, account, outcome, operation, model, route, key_prefix,
  input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, total_tokens, cost, written_off,
  estimated, status, price_version, local_day, latency_ms, started_at, occurred_at)
VALUES ('old', 'old', 'alice', 'settled', 'chat', 'gpt-4o', '/v1/x', 'qg_1', 1, 0, 0, 2, 0, 3, 4, 0, false, 200, 'p',
  '2026-11-20', 5, '2026-11-20 10:00:00', '2026-11-20 10:00:01')
"""
DAY = "INSERT INTO usage_daily VALUES ('alice', '2026-11-20', 'gpt-4o', 'chat', 1, 1, 0, 0, 2, 0, 4, 0)"


def test_calls_and_days_of_before_used_no_audio_and_no_images(ledger_url: str) -> None:
    engine = database.connect(ledger_url)
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE)
    with engine.begin() as connection:
        connection.execute(text(CALL))
        connection.execute(text(DAY))

    migrate.migrate(engine)
    record(engine, [usage("new", audio_ms=700, images=3)])

    columns = "id, cost, audio_ms, images, held, first_held"
    with engine.connect() as connection:
        calls = connection.execute(text(f"SELECT {columns} FROM usage_events ORDER BY id")).all()
        (day,) = connection.execute(text("SELECT requests, cost, audio_ms, images FROM usage_daily")).all()
    engine.dispose()
    assert [tuple(call) for call in calls] == [("new", 3, 700, 3, 9, 4), ("old", 4, 0, 0, 0, 0)]
    assert tuple(day) == (2, 7, 700, 3)
