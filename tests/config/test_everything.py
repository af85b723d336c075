"""everything.toml sets every key of every shape: all of it loads, and all of it means something."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_args, get_origin
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from gateway.config import ClaimNames, Config, load, parse
from gateway.config.idempotency import Idempotency
from gateway.config.notifications import Email, Webhook
from gateway.config.observability import Observability
from gateway.config.payments import Payments, Stripe, Xendit
from gateway.config.shapes import ConfigShape
from gateway.domain.catalog import Package, Plan, Subscriptions, UnitPrice
from gateway.domain.errors import ConfigError
from gateway.domain.money import Money
from gateway.domain.notice import KINDS
from gateway.domain.operation import Holding
from gateway.domain.policy import DIMENSIONS, MEASURES, MODES, Policy, parse_rate
from gateway.domain.price import FixedPrice, UsagePrice
from gateway.domain.route import Timeouts
from gateway.domain.tier import Allowance
from gateway.domain.usage import Usage
from tests.cli.command import Command
from tests.config.test_garbage import paths, replaced, toml
from tests.config.test_load import SHIPPED

#: Where a value stands in a file.
Place = tuple[str | int, ...]

HERE = Path(__file__).parent
EVERYTHING = HERE / "everything.toml"
ENVIRONMENT = {
    "CRON_SECRET": "c" * 16,
    "REDIS_URL": "rediss://cache:6380/0",
    "DATABASE_URL": "postgresql://quotagate@ledger/quotagate",
    "BACKEND_SECRET": "b" * 16,
    "JWT_SECRET": "j" * 48,
    "FOLDER": str(HERE),
    "UPSTREAM_URL": "https://api.example.com/",
    "UPSTREAM_KEY": "sk-1",
    "METRICS_TOKEN": "m" * 16,
    "WEBHOOK_SECRET": "whsec_" + "d2Vi" * 8,
    "SMTP_PASSWORD": "p" * 16,
    "XENDIT_SECRET_KEY": "xnd_development_1",
    "XENDIT_CALLBACK_TOKEN": "x" * 32,
    "STRIPE_SECRET_KEY": "sk_test_1",
    "STRIPE_WEBHOOK_SECRET": "whsec_1",
}
TABLES = tomllib.loads(EVERYTHING.read_text())
#: Every table, key and item of it. What is wrong with one audience is told of all of them.
PLACES: list[Place] = [place for place in paths(TABLES)[1:] if place[-2:-1] != ("audience",)]


@pytest.fixture(scope="module")
def config() -> Config:
    return load(EVERYTHING, ENVIRONMENT)


# ── every key ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_loads_without_a_warning(config: Config) -> None:
    assert config.warnings == ()


def test_it_sets_every_key_of_every_shape() -> None:
    assert list(unset(ConfigShape, [TABLES])) == []


def test_a_key_that_it_left_out_would_be_told() -> None:
    tables = tomllib.loads(SHIPPED.read_text())

    told = set(unset(ConfigShape, [tables]))

    assert {".upstreams.*.ca_file", ".tiers.*.allowance.*.from", ".tiers.*.limits.*.by"} < told
    assert {".upstreams", ".upstreams.*.base_url", ".tiers.*.allowance.*.every"}.isdisjoint(told)


def test_the_shipped_config_speaks_of_every_key() -> None:
    text = SHIPPED.read_text()

    unnamed = [key for key in unset(ConfigShape, [tomllib.loads(text)]) if not named_in(text, key)]

    assert unnamed == []


def test_every_key_means_something(config: Config) -> None:
    """Without it the config is another, or none. Some say what holds anyhow."""
    keys = [place for place in PLACES if isinstance(place[-1], str) and not isinstance(value_at(place), dict)]

    idle = [place for place in keys if meaning_without(place) == meaning(config)]

    assert len(keys) > 150
    assert idle == [
        ("store", "partitions"), ("idempotency", "enabled"), ("api", "enabled"), ("api", "docs"),
        ("observability", "metrics"),
    ]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=[".".join(map(str, place)) for place in PLACES])
def test_a_value_that_no_key_takes_is_told_by_its_key_what_stands_there_and_what_may(place: Place) -> None:
    tables = replaced(TABLES, place, datetime.date(2026, 11, 21))

    with pytest.raises(ConfigError) as caught:
        parse(written(tables), "config.toml", ENVIRONMENT)

    [fault] = caught.value.faults
    assert re.fullmatch(re.escape(name_of(place)) + r" (= 2026-11-21|\(not shown\)): must be .{6,}", fault)


def test_check_says_that_it_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    done = Command(tmp_path, capfd, monkeypatch).plain("check", str(EVERYTHING))

    assert (done.code, done.err) == (0, "")
    assert done.out == f"{EVERYTHING}: good; 5 tier(s), 2 upstream(s)\n"


# ── what some of it means ────────────────────────────────────────────────────────────────────────────────────────────


def limit(config: Config, name: str, tier: str = "pro") -> Policy:
    (found,) = [policy for policy in config.tiers[tier].limits.policies if policy.name == name]
    return found


def test_what_the_api_holds_for_an_operation_is_as_it_says(config: Config) -> None:
    assert config.holdings["create_website"] == Holding(1_800_000, "charge_hold")
    assert config.holdings["preview"] == Holding(600_000, "release")


def test_a_limit_may_be_about_what_the_api_does_itself() -> None:
    limits = 'limits = [{ limit = "2 requests/hour", operations = ["token_use"] }, "2 concurrent"]'
    text = EVERYTHING.read_text().replace('limits = ["20 requests/minute", "2 concurrent"]', limits)

    assert parse(text, "config.toml", ENVIRONMENT).tiers["free"].limits.policies[0].operations == ("token_use",)


def test_limits_of_every_measure_dimension_and_mode_are_among_it(config: Config) -> None:
    policies = [policy for tier in config.tiers.values() for policy in tier.limits.policies]

    assert {policy.rate.measure for policy in policies} == set(MEASURES.values())
    assert {dimension for policy in policies for dimension in policy.by} == set(DIMENSIONS)
    assert {policy.mode for policy in policies} == set(MODES)
    for dimension in ("team", "ip", "model"):
        assert {policy.mode for policy in policies if dimension in policy.by} == set(MODES), dimension


def test_a_limit_says_how_much_and_how_much_at_once(config: Config) -> None:
    slow, plain, at_a_time = (
        limit(config, "ip-requests-per-minute", "visitor"),
        limit(config, "requests-per-minute", "free"),
        limit(config, "concurrent", "free"),
    )

    assert (slow.rate.limit, slow.rate.period_ms, slow.rate.room) == (10, 60_000, 3)
    assert (plain.rate.limit, plain.rate.period_ms, plain.rate.room) == (20, 60_000, 20)
    assert (at_a_time.rate.measure, at_a_time.rate.room) == ("concurrent", 2)


def test_a_limit_says_whom_it_counts_in_which_calls_and_what_it_does(config: Config) -> None:
    assert limit(config, "team-pace") == Policy(
        "team-pace", parse_rate("80 output tokens/second"), ("team",), "throttle", warn_at=(800,)
    )
    by_key = limit(config, "key-model-output-tokens-per-10-minutes")
    assert (by_key.by, by_key.mode, by_key.models) == (("key", "model"), "shadow", ("o3*", "gpt-*"))
    assert limit(config, "ip-route-requests-per-minute").routes == ("/v1/audio/transcriptions",)
    assert limit(config, "team-operation-cost-per-day").operations == ("chat",)


def test_a_limit_without_warnings_of_its_own_has_those_of_its_tier(config: Config) -> None:
    assert limit(config, "team-tokens-per-minute").warn_at == (500, 900)
    assert limit(config, "requests-per-minute").warn_at == (800,)
    assert limit(config, "requests-per-minute", "free").warn_at == ()


def test_the_calls_of_an_operation_meet_what_is_about_them(config: Config) -> None:
    applied = config.tiers["pro"].limits.applied("/v1/chat/completions", "chat", "llama-3")

    assert [policy.name for policy in applied.throttles] == ["team-pace", "address-pace"]
    assert [policy.name for policy in applied.checked] == [
        "requests-per-minute", "concurrent", "team-tokens-per-minute", "organisation-input-tokens-per-hour",
        "team-operation-cost-per-day",
    ]  # fmt: skip


def test_callers_are_known_in_every_way(config: Config) -> None:
    by_secret, by_url, by_file = config.jwt_issuers

    assert config.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("2001:db8::7"))
    assert config.trusted_header is not None
    assert config.trusted_header.names == (
        b"x-account", b"x-backend-secret", b"x-plan", b"x-team", b"x-organisation",
    )  # fmt: skip
    assert (config.trusted_header.secret, config.trusted_header.trust_proxies) == (b"b" * 16, True)
    assert (by_secret.secret, by_secret.leeway_s, by_secret.audience) == (b"j" * 48, 30, ("quotagate",))
    assert by_secret.claims == ClaimNames("user.id", "plan", "team", "org.name", "scope")
    assert (by_url.jwks_url, by_url.algorithms) == (
        "https://accounts.example.org/.well-known/jwks.json", ("RS256", "ES256"),
    )  # fmt: skip
    assert (by_file.jwks_file, by_file.audience) == (HERE / "jwks.json", ())
    assert config.anonymous_tier == "visitor"


def test_allowances_begin_and_roll_over_as_they_say(config: Config) -> None:
    pro, company = config.tiers["pro"], config.tiers["company"]

    assert pro.allowances == (
        Allowance("hour", 10_000, rollover=2_000),
        Allowance("day", 100_000),
        Allowance("week", 500_000, first_day=6, rollover=50_000),
        Allowance("month", 1_000_000, first_day=31),
    )
    assert [allowance.is_anchored for allowance in company.allowances] == [True, True]
    assert (pro.is_anchored, company.is_anchored) == (False, True)
    assert pro.burn_order == ("credits", "hour", "day", "week", "month")


def test_days_begin_where_and_when_the_tier_says_or_else_the_gateway(config: Config) -> None:
    pro, free = config.tiers["pro"], config.tiers["free"]

    assert (pro.zone, pro.reset_hour) == (ZoneInfo("America/New_York"), 2)
    assert (free.zone, free.reset_hour) == (ZoneInfo("Asia/Jakarta"), 4)


def test_prices_have_all_their_parts_times_what_route_and_tier_pay(config: Config) -> None:
    pro, company = config.tiers["pro"], config.tiers["company"]
    chat = config.routes.match("POST", "/v1/chat/completions")
    assert chat is not None

    assert config.charge(company, "chat", "o3-mini") == UsagePrice(
        input=2_000_000, cached_input=500_000, cache_write=2_500_000, output=8_000_000, reasoning=6_000_000
    )
    charge = config.charge(pro, "chat", "o3-mini", chat.multiplier)
    assert isinstance(charge, UsagePrice)
    assert charge.cost(Usage(input=100)) == 200  # 0.8 times 1.25
    whisper = config.charge(company, "transcribe", "whisper-1")
    assert isinstance(whisper, UsagePrice)
    assert whisper.cost(Usage(audio_ms=1500)) == 50 + 150
    image = config.charge(company, "chat", "dall-e-3")
    assert isinstance(image, UsagePrice)
    assert image.cost(Usage(images=2)) == 80_000
    assert config.charge(config.tiers["free"], "chat", "o3-mini") == FixedPrice(1)


def test_routes_say_what_becomes_of_calls_when_something_goes_wrong(config: Config) -> None:
    chat = config.routes.match("GET", "/v1/chat/completions")
    audio = config.routes.match("POST", "/v1/audio/transcriptions")
    own = config.routes.match("POST", "/own/thing")

    assert chat is not None
    assert (chat.on_disconnect, chat.on_lost, chat.on_missing_usage) == ("stop", "charge_hold", "charge_hold")
    assert (chat.on_store_outage, chat.on_renewal_outage) == ("deny", "stream")
    assert (chat.max_hold, chat.default_output_tokens, chat.default_input_tokens) == (50_000, 4096, 800)
    assert chat.timeouts == Timeouts(connect_s=2, first_byte_s=600, idle_s=120)
    assert audio is not None
    assert (audio.on_lost, audio.default_audio_seconds, audio.timeouts.idle_s) == ("release", 600, 45)
    assert own is not None
    assert (own.on_store_outage, own.dialect, own.usage_path) == ("allow", "path", "data.usage")


def test_outcomes_are_remembered_and_told_as_it_says(config: Config) -> None:
    assert config.idempotency == Idempotency(keep_ms=3_600_000, max_bytes=262_144)
    assert config.exhausted_status == 402
    assert config.keep_usage_months == 24
    assert config.observability == Observability(
        True, "m" * 16, "json", "warning", True, "http://collector:4318/v1/traces"
    )


def test_owners_are_told_what_it_says_by_the_ways_it_says(config: Config) -> None:
    told = config.notifications

    assert told.kinds == KINDS
    assert told.thresholds == (500, 995)
    assert told.webhook == Webhook("https://backend.example.com/quota-events?from=gateway", b"web" * 8)
    assert told.email == Email("smtp.example.com", 465, "tls", "quotagate", "p" * 16, "Quota <quota@example.com>")


def test_what_is_sold_costs_what_it_says_and_is_paid_to_whom_it_says(config: Config) -> None:
    assert config.payments == Payments(
        "xendit", "https://app.example.com/credits?from=refusal", 20, 43_200,
        UnitPrice(1000, Money(1_650_000, "IDR"), 5000, 1_000_000, 180),
        Xendit(
            "xnd_development_1", "x" * 32, "https://xendit.example.com/proxy", ("va", "qris"), ("BCA", "MANDIRI"),
            "https://app.example.com/thanks?by=xendit", "Toko Kata",
        ),
        Stripe("sk_test_1", "whsec_1", "https://stripe.example.com", "https://app.example.com/thanks?by=stripe"),
    )  # fmt: skip
    assert config.plans == {
        "visitor_plus": Plan(
            "visitor_plus", "More for visitors", "visitor", Money(25_000_000, "IDR"), "year", 5000, grace_days=7
        )
    }
    assert config.subscriptions == Subscriptions((14, 5, 1), "free")
    assert config.packages == {
        "starter": Package("starter", "A thousand to begin with", Money(1_500_000, "IDR"), 1000, 100, 90)
    }


# ── the helpers of the above ─────────────────────────────────────────────────────────────────────────────────────────


def unset(annotation: Any, found: list[Any], at: str = "") -> Iterator[str]:
    """The keys under a shape, or under a type of its fields, that nothing of what was found there sets."""
    inner = get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, info in annotation.model_fields.items():
            key = info.alias or name
            values = [table[key] for table in found if isinstance(table, dict) and key in table]
            if not values:
                yield f"{at}.{key}"
            yield from unset(info.annotation, values, f"{at}.{key}")
    elif get_origin(annotation) in (dict, list):
        tables = [each.values() if isinstance(each, dict) else each for each in found if isinstance(each, dict | list)]
        yield from unset(inner[-1], [item for table in tables for item in table], f"{at}.*")
    else:  # Annotated, or a union.
        for each in inner:
            yield from unset(each, found, at)


def named_in(text: str, key: str) -> bool:
    return re.search(rf"\b{key.rpartition('.')[2]}\b", text) is not None


def meaning(config: Config) -> dict[str, Any]:
    """All that a config says, to be compared. The version of the prices stands for whatever makes a price."""
    said = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return said | {"routes": vars(config.routes), "prices": config.prices.version}


def meaning_without(place: Place) -> dict[str, Any]:
    tables = without(TABLES, place)
    with contextlib.suppress(ConfigError):
        return meaning(parse(written(tables), str(EVERYTHING), ENVIRONMENT))
    return {}


def value_at(place: Place) -> Any:
    value: Any = TABLES
    for step in place:
        value = value[step]
    return value


def without(value: Any, place: Place) -> Any:
    copy = value.copy()
    if len(place) == 1:
        del copy[place[0]]
    else:
        copy[place[0]] = without(value[place[0]], place[1:])
    return copy


def written(tables: Mapping[str, Any]) -> str:
    return "\n".join(f"{key} = {toml(item)}" for key, item in tables.items())


def name_of(place: Place) -> str:
    """As faults have it: tiers.pro.limits[2].by."""
    steps = [f"[{step}]" if isinstance(step, int) else "." + bare(step) for step in place]
    return "".join(steps).removeprefix(".")


def bare(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else json.dumps(key)
