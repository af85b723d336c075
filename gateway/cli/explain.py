"""`quotagate explain`: the whole story of one call."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import show
from gateway.cli.options import ConfigOption, DataOption, JsonOption, opened

if TYPE_CHECKING:
    from gateway.accounts.explain import Explanation, PriceStory
    from gateway.config import Config
    from gateway.store.reservations import EndedHold, OpenHold


def explain(
    reservation: Annotated[str, typer.Argument(help="The reservation's id, as `usage` and `holds` list it.")],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Tell the whole story of one call: its hold, how it ended, what it used and cost, and its ledger entries."""
    from gateway.accounts import explain as acts

    with opened(config, data) as system:
        found = acts.explain(system, reservation)
        if json:
            show.line(found.as_json())
        else:
            for line in _story(found, system.config):
                show.put(line)


def _story(found: Explanation, config: Config) -> Iterator[str]:
    tier = f" (tier {found.tier})" if found.tier else ""
    yield show.shown(f"reservation {found.id} of account {found.account}{tier}: {found.state}")
    if found.hold is not None:
        yield from _hold(found.hold, config)
    if found.ended is not None:
        yield from _ended(found.ended, config)
    for event in found.events:
        yield show.shown(
            f"event {event['id']}, {event['occurred_at'].isoformat()}: {event['outcome']}, "
            f"{called(event['operation'], event['model'], event['route'])}, status {event['status']}, "
            f"{event['latency_ms']} ms"
        )
        yield show.shown(
            f"  used: input {event['input_tokens']} (cached {event['cached_tokens']}, written to the cache "
            f"{event['cache_write_tokens']}), output {event['output_tokens']} (reasoning {event['reasoning_tokens']}), "
            f"audio {event['audio_ms']} ms, images {event['images']}{', estimated' if event['estimated'] else ''}"
        )
        yield show.shown(
            f"  cost {show.amount(event['cost'], config)}, of which written off "
            f"{show.amount(event['written_off'], config)}; held {show.amount(event['first_held'], config)} at first, "
            f"{show.amount(event['held'], config)} at its end"
        )
        if event["shadow"]:
            yield show.shown(f"  would have been denied by (shadow): {event['shadow']}")
    for entry in found.entries:
        yield show.shown(f"ledger {entry['id']}: {entry['kind']} {entry['bucket']} {entry['amount']:+d}")
    for grant in found.grants:
        cause = f", made for {grant.cause}" if grant.cause else ""
        yield show.shown(f"grant {grant.id}: {grant.kind or 'not in the ledger yet'}{cause}")
    for waits in found.waiting:
        where = "waits for the ledger" if waits.stream == "events" else "was set aside, and is not in the ledger"
        yield show.shown(f"event {waits.fields.get('id')} {where}: {waits.stream} {waits.stream_id}")
    if found.price is not None:
        yield from _price(found.price, found.price_version, config)
    elif found.price_version and not found.price_in_force:
        yield f"price version {found.price_version}: no longer in force, this config has {config.prices.version}"
    elif found.price_version:
        yield f"price version {found.price_version}, in force"
    for noted in found.audit:
        yield show.shown(f"audit {noted.occurred_at.isoformat()}: {noted.actor} {noted.action}: {noted.reason}")


def called(operation: str, model: str, route: str) -> str:
    """What was called. What is paid for over the API has neither model nor route."""
    return operation + (f" {model}" if model else "") + (f" at {route}" if route else "")


def _hold(hold: OpenHold, config: Config) -> Iterator[str]:
    since, until = (datetime.fromtimestamp(at_ms / 1000, UTC) for at_ms in (hold.opened_at_ms, hold.lease_until_ms))
    parts = ", ".join(f"{bucket} {show.amount(amount, config)}" for bucket, amount in hold.parts) or "nothing"
    yield show.shown(
        f"  held {show.amount(hold.amount, config)} ({show.amount(hold.first_amount, config)} at first) of {parts}"
    )
    yield show.shown(
        f"  {called(hold.operation, hold.model, hold.route)}, key {hold.key or 'none'}, since {since.isoformat()}, "
        f"lease until {until.isoformat()}, then {hold.on_lost}"
    )
    if hold.counted:
        counted = show.amount(hold.counted, config)
        yield f"  counted so far {counted}: {hold.counted_input} tokens in, {hold.counted_output} out"
    for rate in hold.rates:
        yield show.shown(f"  counts {rate.weight} {rate.measure} in {rate.where}")
    for slot in hold.slots:
        yield show.shown(f"  has a slot of {slot}")
    if hold.shadow:
        yield show.shown(f"  would have been denied by (shadow): {' '.join(hold.shadow)}")


def _ended(ended: EndedHold, config: Config) -> Iterator[str]:
    charged, off, left = (show.amount(units, config) for units in (ended.charged, ended.written_off, ended.left))
    yield (
        f"  {ended.how}: charged {charged}, written off {off}, left {left} then; this is remembered for another "
        f"{ended.remembered_ms / 3_600_000:.1f} h"
    )


def _price(price: PriceStory, version: str, config: Config) -> Iterator[str]:
    yield f"price version {version}, in force:"
    for line in price.call.lines:
        per = "" if line.per == 1 else f" / {line.per}"
        yield f"  {line.what}: {line.count} × {line.price}{per} = {_exact(line.millionths)}"
    numerator, denominator = price.call.multiplier
    if (numerator, denominator) != (1, 1):
        yield f"  times {numerator}/{denominator}"
    yield f"  rounded up once: {show.amount(price.call.units, config)}"
    if not price.agrees:
        yield (
            f"  it cost {show.amount(price.cost, config)}: its tier or route was another one then, or it was charged "
            "by its hold or by what was counted"
        )


def _exact(millionths: int) -> str:
    """Units with all their places, no float on the way."""
    whole, rest = divmod(millionths, 1_000_000)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")
