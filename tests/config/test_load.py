"""Configs that load, and what they mean."""

from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.config import ClaimNames, Config, load, parse
from gateway.config.shapes.tiers import LimitShape
from gateway.domain.errors import ConfigError
from gateway.domain.policy import Policy, parse_rate
from gateway.domain.price import FixedPrice, ListPrice, UsagePrice
from gateway.domain.route import Timeouts
from gateway.domain.tier import Allowance
from tests.support.config import config_text
from tests.support.processes import CHECKOUT

SHIPPED = CHECKOUT / "config.toml"

#: The tables and keys that the project was asked for.
SKETCH = """
[gateway]
listen = "0.0.0.0:8080"
timezone = "Asia/Jakarta"
default_tier = "free"
unit = "credit"
decimals = 2

[store]
redis_url = "env:REDIS_URL"
database_url = "env:DATABASE_URL"

[upstreams.main]
base_url = "http://127.0.0.1:9000"
headers = { Authorization = "Bearer env:UPSTREAM_KEY", X-Team = "chat" }
timeouts = { connect_s = 5, first_byte_s = 120, idle_s = 60 }

[[routes]]
path = "/v1/chat/completions"
methods = ["POST"]
upstream = "main"
dialect = "openai-chat"
operation = "chat"

[[routes]]
path = "/own/*"
methods = ["GET", "POST"]
upstream = "main"
usage_path = "data.usage"
operation = "create_website"

[operations.chat]
price = "tokens"
[operations.create_website]
price = 1

[prices."gpt-4o*"]
input = 2_500_000
cached_input = 1_250_000
output = 10_000_000
[prices."*"]
input = 1_000_000
output = 2_000_000

[tiers.free]
signup = 15
allowance = [{ every = "day", amount = 5 }, { every = "month", amount = 50 }]
limits = ["20 requests/minute", "2 concurrent"]
warn_below = 5

[tiers.pro]
allowance = [{ every = "month", amount = 1_000_000 }]
"""
ENVIRONMENT = {"REDIS_URL": "redis://h:6379/1", "DATABASE_URL": "postgresql://u:p@h/d", "UPSTREAM_KEY": "sk-1"}


@pytest.fixture(scope="module")
def sketch() -> Config:
    return parse(SKETCH, "config.toml", ENVIRONMENT)


# ── the config that ships ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_shipped_config_loads_without_a_warning() -> None:
    config = load(SHIPPED, {})

    assert config.warnings == ()
    assert (config.redis_url, config.database_url, config.trusted_header) == ("", "", None)
    assert config.upstreams["main"].base_url == ""
    assert set(config.tiers) == {"free", "payg", "pro", "license"}


def test_the_shipped_config_is_completed_by_the_environment() -> None:
    environment = ENVIRONMENT | {"UPSTREAM_URL": "https://api.openai.com/", "QUOTAGATE_SECRET": "s" * 16}

    config = load(SHIPPED, environment)

    assert config.warnings == ()
    assert (config.redis_url, config.database_url) == ("redis://h:6379/1", "postgresql://u:p@h/d")
    assert config.upstreams["main"].base_url == "https://api.openai.com"
    assert config.upstreams["main"].headers == ((b"authorization", b"Bearer sk-1"),)
    assert config.trusted_header is not None
    assert config.trusted_header.secret == b"s" * 16


def test_the_shipped_config_warns_of_a_key_that_an_upstream_will_miss() -> None:
    config = load(SHIPPED, {"UPSTREAM_URL": "https://api.openai.com"})

    assert config.warnings == (
        "upstreams.main.headers.Authorization is left out: the environment variable UPSTREAM_KEY is not set",
    )


def test_every_option_the_shipped_config_documents_is_one() -> None:
    """Those of a route stand there as comments."""
    comments = [line[4:] for line in SHIPPED.read_text().splitlines() if line.startswith("#   ")]
    lines = [comment.split("   # ")[0] for comment in comments]
    options = [line for line in lines if " = " in line and "usage_path" not in line]
    assert len(options) >= 8
    first = '[[routes]]\npath = "/v1/chat/completions"\n'

    config = parse(SHIPPED.read_text().replace(first, first + "\n".join(options) + "\n"), "config.toml", {})

    route = config.routes.match("POST", "/v1/chat/completions")
    assert route is not None
    assert route.timeouts.first_byte_s == 600


def test_every_option_of_a_limit_is_documented_in_the_shipped_config_and_is_one() -> None:
    _, _, after = SHIPPED.read_text().partition("# limits: ")
    documented = after.partition("[tiers.free]")[0]
    texts = re.findall(r'^#  ("\d.+?")  ', documented, re.MULTILINE)
    options = re.findall(r"^#  (\w+ = .+?)  ", documented, re.MULTILINE)
    limits = [f"{{ limit = {text}, name = 'limit-{n}' }}" for n, text in enumerate(texts)]
    limits.append(f"{{ limit = {texts[0]}, {', '.join(options)} }}")

    config = parse(SHIPPED.read_text() + f"[tiers.documented]\nlimits = [{', '.join(limits)}]", "config.toml", {})

    assert ["limit", *(option.partition(" ")[0] for option in options)] == list(LimitShape.model_fields)
    *plain, full = config.tiers["documented"].limits.policies
    assert [policy.rate.room for policy in plain] == [20, 5, 2]  # As the comments beside them say.
    assert full == Policy(
        "chats", parse_rate("20 requests/minute"), ("team", "model"), "shadow", ("gpt-4o*",), ("/v1/messages",),
        ("chat",), (800,),
    )  # fmt: skip


def test_every_way_of_knowing_callers_that_the_shipped_config_documents_is_one(tmp_path: Path) -> None:
    """What stands as a comment is put in force: all but the secret, in whose place the key set stands."""
    keys = tmp_path / "jwks.json"
    keys.write_text('{"keys": []}')
    before, _, after = SHIPPED.read_text().partition("[identity.trusted_header]")
    section, _, rest = after.partition("\n# A client that sends `Idempotency-Key")
    options = re.sub(r"^# ([a-z_]+ = |\[)", r"\1", section, flags=re.MULTILINE)
    assert options.count("\n#") == 3  # What is left are sentences.
    options = re.sub(r"^(secret = \"env:JWT.*|jwks_file.*)$", "", options, flags=re.MULTILINE)
    claims = "tier = " + options.partition("# tier = ")[2].partition("\n")[0]
    options = options.replace('account = "sub" }', f'account = "sub", {claims} }}', 1).replace("HS256", "RS256", 1)
    text = before.replace("trusted_proxies = []", 'trusted_proxies = ["10.0.0.0/8"]') + "[identity.trusted_header]"

    config = parse(text + options + "\n# " + rest, "config.toml", {})

    assert config.trusted_header is not None
    assert len(config.trusted_header.names) == 5
    assert config.jwt_issuers[0].claims == ClaimNames("sub", "plan", "team", "org.name", "scope")
    assert config.jwt_issuers[0].jwks_url.startswith("https://")
    assert config.anonymous_tier == "free"


# ── what keys mean ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_sketch_loads(sketch: Config) -> None:
    assert (sketch.host, sketch.port, sketch.unit, sketch.decimals) == ("0.0.0.0", 8080, "credit", 2)
    assert (sketch.redis_url, sketch.database_url) == ("redis://h:6379/1", "postgresql://u:p@h/d")
    assert sketch.default_tier == "free"


LIMITS = """limits = [
    "20 requests/minute",
    { limit = "9 concurrent", by = "ip", warn_at = [0.5] },
    { limit = "50 output tokens/second", mode = "throttle", models = ["gpt-*"] },
    { limit = "100 cost/day", name = "budget", by = ["team", "model"], mode = "shadow", operations = ["chat"] },
]
warn_at = [0.95, 0.8]"""


def test_limits_become_policies_in_order() -> None:
    text = SKETCH.replace('limits = ["20 requests/minute", "2 concurrent"]', LIMITS)

    free = parse(text, "config.toml", ENVIRONMENT).tiers["free"]

    assert free.limits.policies == (
        Policy("requests-per-minute", parse_rate("20 requests/minute"), warn_at=(800, 950)),
        Policy("ip-concurrent", parse_rate("9 concurrent"), ("ip",), warn_at=(500,)),
        Policy(
            "output-tokens-per-second", parse_rate("50 output tokens/second"), mode="throttle", models=("gpt-*",),
            warn_at=(800, 950),
        ),
        Policy(
            "budget", parse_rate("100 cost/day"), ("team", "model"), "shadow",
            operations=("chat",), warn_at=(800, 950),
        ),
    )  # fmt: skip
    assert free.warn_at == (800, 950)


def test_an_upstream_is_read(sketch: Config) -> None:
    upstream = sketch.upstreams["main"]

    assert upstream.headers == ((b"authorization", b"Bearer sk-1"), (b"x-team", b"chat"))
    assert upstream.timeouts == Timeouts(connect_s=5, first_byte_s=120, idle_s=60)
    assert "sk-1" not in repr(upstream)


def test_routes_are_read(sketch: Config) -> None:
    chat, own = sketch.routes.match("POST", "/v1/chat/completions"), sketch.routes.match("GET", "/own/thing")

    assert chat is not None
    assert (chat.dialect, chat.operation, chat.upstream, chat.usage_path) == ("openai-chat", "chat", "main", None)
    assert own is not None
    assert (own.dialect, own.usage_path, own.methods) == ("path", "data.usage", frozenset({"GET", "POST"}))
    assert sketch.routes.match("GET", "/v1/chat/completions") is None


def test_prices_are_read(sketch: Config) -> None:
    assert sketch.operations == {"chat": ListPrice(), "create_website": FixedPrice(1)}
    assert sketch.prices.find("gpt-4o-mini") == UsagePrice(
        input=2_500_000, output=10_000_000, cached_input=1_250_000, cache_write=2_500_000, reasoning=10_000_000
    )
    assert sketch.prices.find("anything") == UsagePrice(
        input=1_000_000, output=2_000_000, cached_input=1_000_000, cache_write=1_000_000, reasoning=2_000_000
    )


def test_callers_are_known_by_keys_alone_unless_the_config_says_more(sketch: Config) -> None:
    found = (sketch.trusted_proxies, sketch.trusted_header, sketch.jwt_issuers, sketch.anonymous_tier)

    assert found == ((), None, (), "")


JWT = """
[[identity.jwt]]
issuer = "https://login.example.com/"
audience = "quotagate"
algorithms = ["HS256"]
secret = "env:JWT_SECRET"
"""


def test_an_issuer_is_read_and_its_secret_is_not_shown() -> None:
    (issuer,) = parse(SKETCH + JWT, "config.toml", ENVIRONMENT | {"JWT_SECRET": "hunter2!" * 4}).jwt_issuers

    assert (issuer.issuer, issuer.audience, issuer.algorithms) == (
        "https://login.example.com/", ("quotagate",), ("HS256",)
    )  # fmt: skip
    assert issuer.secret == b"hunter2!" * 4
    assert issuer.claims == ClaimNames("sub", "", "", "", "")
    assert "hunter2" not in repr(issuer)


@pytest.mark.parametrize("way", ['secret = "env:UNSET"', 'jwks_url = "env:UNSET"', 'jwks_file = "env:UNSET"'])
def test_an_issuer_whose_variable_is_not_set_is_off(way: str) -> None:
    algorithm = "HS256" if way.startswith("secret") else "ES256"
    text = JWT.replace('secret = "env:JWT_SECRET"', way).replace("HS256", algorithm)

    assert parse(SKETCH + text, "config.toml", ENVIRONMENT).jwt_issuers == ()


@pytest.mark.parametrize(("audience", "names"), [('"a"', ("a",)), ('["a", "b"]', ("a", "b")), ("[]", ())])
def test_an_audience_is_one_several_or_none(audience: str, names: tuple[str, ...]) -> None:
    text = SKETCH + JWT.replace('"quotagate"', audience)

    assert parse(text, "config.toml", {"JWT_SECRET": "s" * 32}).jwt_issuers[0].audience == names


def test_keys_may_be_fetched_without_tls_from_this_machine_alone() -> None:
    for host in ("localhost", "127.0.0.1:8080", "127.9.9.9", "[::1]:80"):
        way = f'jwks_url = "http://{host}/keys"'
        text = SKETCH + JWT.replace('secret = "env:JWT_SECRET"', way).replace("HS256", "RS256")
        assert parse(text, "config.toml", {}).jwt_issuers[0].jwks_url == f"http://{host}/keys"


def test_a_trusted_header_without_a_secret_is_off_unless_proxies_are_trusted() -> None:
    table = "\n[identity.trusted_header]\n"
    proxies = 'decimals = 2\ntrusted_proxies = ["10.0.0.0/8", "2001:db8::7"]'

    config = parse(SKETCH.replace("decimals = 2", proxies) + table + "trust_proxies = true", "config.toml", ENVIRONMENT)

    assert parse(SKETCH + table, "config.toml", ENVIRONMENT).trusted_header is None
    assert config.trusted_header is not None
    assert (config.trusted_header.secret, config.trusted_header.names) == (b"", (b"x-user-id", b"x-gateway-secret"))
    assert [str(network) for network in config.trusted_proxies] == ["10.0.0.0/8", "2001:db8::7/128"]


def test_tiers_are_read(sketch: Config) -> None:
    free, pro = sketch.tiers["free"], sketch.tiers["pro"]

    assert (free.signup, free.allowances, free.warn_below) == (15, (Allowance("day", 5), Allowance("month", 50)), 5)
    assert (pro.signup, pro.allowances, pro.warn_below) == (0, (Allowance("month", 1_000_000),), None)
    assert free.zone == pro.zone == ZoneInfo("Asia/Jakarta")


def test_a_tier_may_have_its_own_zone_order_and_prices() -> None:
    config = parse(
        SKETCH + 'timezone = "America/Havana"\nburn_order = ["credits", "month"]\noperations = { chat = 3 }\n',
        "config.toml",
        ENVIRONMENT,
    )
    pro = config.tiers["pro"]

    assert (pro.zone.key, pro.burn_order) == ("America/Havana", ("credits", "month"))
    assert config.charge(pro, "chat", "gpt-4o") == FixedPrice(3)
    assert config.charge(config.tiers["free"], "chat", "gpt-4o") == config.prices.find("gpt-4o")


def test_a_route_may_have_its_own_timeouts() -> None:
    slow = SKETCH.replace('operation = "chat"', 'operation = "chat"\ntimeouts = { first_byte_s = 600 }', 1)

    route = parse(slow, "config.toml", ENVIRONMENT).routes.match("POST", "/v1/chat/completions")

    assert route is not None
    assert route.timeouts == Timeouts(connect_s=5, first_byte_s=600, idle_s=60)


def test_the_price_version_changes_with_the_prices_alone(sketch: Config) -> None:
    def version(text: str) -> str:
        return parse(text, "config.toml", ENVIRONMENT).prices.version

    assert version(SKETCH) == sketch.prices.version
    assert version(SKETCH.replace("0.0.0.0", "127.0.0.1")) == sketch.prices.version
    assert version(SKETCH.replace("2_500_000", "2_500_001")) != sketch.prices.version
    assert len(sketch.prices.version) <= 32  # As ledger rows take it.


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("127.0.0.1:8000", "127.0.0.1", 8000), ("[::1]:80", "::1", 80), (":9", "", 9), ("localhost:0", "localhost", 0)],
)
def test_where_the_gateway_listens(listen: str, host: str, port: int) -> None:
    config = parse(SKETCH.replace("0.0.0.0:8080", listen), "config.toml", ENVIRONMENT)

    assert (config.host, config.port) == (host, port)


# ── the environment ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_text_may_hold_several_variables_and_more() -> None:
    text = SKETCH.replace("env:REDIS_URL", "redis://:env:PASSWORD@env:HOST:6379/0")

    config = parse(text, "config.toml", ENVIRONMENT | {"PASSWORD": "hunter2", "HOST": "cache"})

    assert config.redis_url == "redis://:hunter2@cache:6379/0"


def test_a_variable_is_not_looked_into_for_others() -> None:
    config = parse(SKETCH, "config.toml", ENVIRONMENT | {"UPSTREAM_KEY": "env:HOME"})

    assert config.upstreams["main"].headers[0] == (b"authorization", b"Bearer env:HOME")


def test_an_unset_variable_is_empty() -> None:
    config = parse(SKETCH, "config.toml", {})

    assert (config.redis_url, config.database_url) == ("", "")


@pytest.mark.parametrize("environment", [{}, {"UPSTREAM_KEY": ""}])
def test_a_header_whose_variable_is_unset_is_left_out(environment: dict[str, str]) -> None:
    """ "Bearer " alone would be refused by the upstream, and nobody would know why."""
    config = parse(SKETCH, "config.toml", environment)

    assert config.upstreams["main"].headers == ((b"x-team", b"chat"),)
    assert config.warnings[0].startswith("upstreams.main.headers.Authorization is left out")


def test_a_missing_header_of_an_upstream_with_a_dotted_name_is_said() -> None:
    text = SKETCH.replace("[upstreams.main]", '[upstreams."eu.main"]').replace('"main"', '"eu.main"')

    config = parse(text, "config.toml", {})

    assert any("eu.main.headers.Authorization is left out" in warning for warning in config.warnings)


def test_secrets_of_the_environment_are_not_in_the_configs_repr() -> None:
    secret = 'secret = "env:SECRET"'
    text = config_text().replace('secret = "a secret of the backend"', secret)

    config = parse(text, "config.toml", {"SECRET": "hunter2-hunter2-hunter2"})

    assert config.trusted_header is not None
    assert "hunter2" not in repr(config)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_read_as_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(SKETCH.replace('"credit"', '"crédit 💳"'), encoding="utf-8")

    config = load(path, ENVIRONMENT)

    assert (config.unit, config.source) == ("crédit 💳", str(path))


@pytest.mark.parametrize("make", ["nothing", "folder", "latin-1"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make: str) -> None:
    path = tmp_path / "config.toml"
    if make == "folder":
        path.mkdir()
    elif make == "latin-1":
        path.write_bytes(b"unit = '\xe9'")

    with pytest.raises(ConfigError) as caught:
        load(path, {})

    assert caught.value.source == str(path)
    assert caught.value.faults[0].startswith("cannot be read: ")


# ── licenses ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_license_tier(terms: str) -> str:
    return f'{SKETCH}\n[tiers.license]\n{terms}\n[licenses]\ntier = "license"\n'


def test_licenses_have_a_tier_of_their_own_and_other_accounts_the_default_one() -> None:
    config = parse(with_license_tier(""), "config.toml", ENVIRONMENT)

    assert config.first_tier("license:lic_AbCdEfGh") == "license"
    assert config.first_tier("ada") == config.first_tier("licenses") == config.default_tier


def test_without_a_tier_for_licenses_there_are_none() -> None:
    config = parse(SKETCH, "config.toml", ENVIRONMENT)

    assert config.license_tier == ""
    assert config.first_tier("license:lic_AbCdEfGh") == config.default_tier


@pytest.mark.parametrize(
    ("terms", "what"),
    [
        ("signup = 1", "that tier has a signup grant"),
        ('allowance = [{ every = "day", amount = 1 }]', "that tier has an allowance"),
        ('burn_order = ["day"]', "leaves out credits"),
    ],
)
def test_a_tier_that_gives_something_by_itself_is_none_for_licenses(terms: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(with_license_tier(terms), "config.toml", ENVIRONMENT)

    (fault,) = caught.value.faults
    assert fault.startswith('licenses.tier = "license"')
    assert what in fault


def test_a_webhook_whose_secret_is_not_set_is_off_and_says_so() -> None:
    more = (
        '[notifications]\nkinds = ["exhausted"]\n[notifications.webhook]\nurl = "https://h/x"\nsecret = "env:NOT_SET"'
    )

    config = parse(config_text(more=more), "config.toml", {})

    assert config.notifications.channels == ()
    assert config.warnings == ("notifications.webhook is off: its secret is empty, and nothing is sent unsigned",)


def test_calls_are_not_remembered_for_longer_than_their_usage_is_kept() -> None:
    """`quotagate reconcile` would take them for calls that the ledger never heard of."""

    def faults(remember_s: int) -> list[str]:
        more = "[ledger]\nkeep_usage_months = 1"
        try:
            parse(config_text(store=f"remember_s = {remember_s}", more=more), "config.toml", {})
        except ConfigError as error:
            return error.faults
        return []

    assert faults(28 * 86_400) == []
    (fault,) = faults(28 * 86_400 + 1)
    assert fault.startswith("store.remember_s = 2419201: ")
    assert "ledger.keep_usage_months = 1" in fault
