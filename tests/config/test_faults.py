"""Configs that cannot be used: each fault is told by its key, what stands there and what may, and no secret is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.config import parse
from gateway.domain.errors import ConfigError
from tests.config.test_load import ENVIRONMENT, SKETCH


def faults_of(text: str, environ: Mapping[str, str] = ENVIRONMENT) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "config.toml", environ)
    return caught.value.faults


def changed(old: str, new: str) -> str:
    """The sketch with its first `old` replaced."""
    assert old in SKETCH
    return SKETCH.replace(old, new, 1)


LIMITS = 'limits = ["20 requests/minute", "2 concurrent"]'


def jwt(**change: str | None) -> str:
    """The table of an issuer. A change to None leaves a key out."""
    keys = {
        "issuer": '"https://login.example.com/"', "audience": '"quotagate"', "algorithms": '["HS256"]',
        "secret": f'"{"s" * 32}"',
    } | change  # fmt: skip
    return "[[identity.jwt]]\n" + "\n".join(f"{key} = {value}" for key, value in keys.items() if value) + "\n"


WEBHOOK = f'[notifications]\nkinds = ["exhausted"]\n[notifications.webhook]\nurl = "https://h/x"\nsecret = "{"s" * 16}"'
EMAIL = (
    '[notifications]\nkinds = ["exhausted"]\n[notifications.email]\nhost = "smtp.example"\nsender = "q@example.com"\n'
)
ROUTE = 'operation = "chat"\n'


def adding(text: str) -> tuple[str, str]:
    """The change that adds a table."""
    return "[upstreams.main]", f"{text}\n[upstreams.main]"


#: What is changed in the sketch, and the beginning, a middle and an end of what is said.
TABLE = [
    # ── gateway ──
    ('listen = "0.0.0.0:8080"', 'listen = "8080"', 'gateway.listen = "8080"', "an address and a port"),
    ('listen = "0.0.0.0:8080"', 'listen = "0.0.0.0:http"', 'gateway.listen = "0.0.0.0:http"', "an address and a port"),
    ('listen = "0.0.0.0:8080"', 'listen = "0.0.0.0:65536"', 'gateway.listen = "0.0.0.0:65536"', "an address"),
    ('listen = "0.0.0.0:8080"', "listen = 8080", "gateway.listen = 8080", "an address and a port"),
    ('"Asia/Jakarta"', '"Asia/Djakarta"', 'gateway.timezone = "Asia/Djakarta"', "an IANA time zone"),
    ('"Asia/Jakarta"', '"Asia"', 'gateway.timezone = "Asia"', "an IANA time zone"),
    ('"Asia/Jakarta"', '"../../etc/passwd"', 'gateway.timezone = "../../etc/passwd"', "an IANA time zone"),
    ('"Asia/Jakarta"', '""', 'gateway.timezone = ""', "an IANA time zone"),
    ('default_tier = "free"\n', "", "gateway.default_tier is missing", "the name of a tier of this file"),
    ('default_tier = "free"', 'default_tier = "gold"', 'gateway.default_tier = "gold"', "a tier of this file: free"),
    ('unit = "credit"', 'unit = ""', 'gateway.unit = ""', "1-32 characters"),
    ("decimals = 2", "decimals = 16", "gateway.decimals = 16", "a whole number from 0 to 15"),
    ("decimals = 2", "decimals = 2.0", "gateway.decimals = 2.0", "a whole number from 0 to 15"),
    ("decimals = 2", "decimals = true", "gateway.decimals = true", "a whole number from 0 to 15"),
    ("decimals = 2", 'decimal = 2', "gateway.decimal is not a key here", "did you mean decimals?"),
    ("decimals = 2", "header_timeout_s = 0", "gateway.header_timeout_s = 0", "seconds, more than 0"),
    ("decimals = 2", "body_timeout_s = nan", "gateway.body_timeout_s = nan", "seconds, more than 0"),
    ("decimals = 2", "body_timeout_s = inf", "gateway.body_timeout_s = inf", "seconds, more than 0"),
    ("decimals = 2", "max_request_bytes = 1", "gateway.max_request_bytes = 1", "a whole number of bytes"),
    ("decimals = 2", "exhausted_status = 403", "gateway.exhausted_status = 403", "429 or 402"),
    ("decimals = 2", 'exhausted_status = "402"', 'gateway.exhausted_status = "402"', "429 or 402"),
    ("decimals = 2", 'reset_hour = "4"', 'gateway.reset_hour = "4"', "an hour from 0 to 23"),
    # ── store ──
    ('"env:REDIS_URL"', '"redis://h:many/0"', 'store.redis_url = "redis://h:many/0"', "and an address"),
    ('"env:REDIS_URL"', '"redis://h:0"', 'store.redis_url = "redis://h:0"', "and an address"),
    ('"env:REDIS_URL"', '"redis://[::1/0"', 'store.redis_url = "redis://[::1/0"', "and an address"),
    ('"env:REDIS_URL"', '"redis://h?db=one"', "store.redis_url (not shown)", "and an address"),
    ('"env:REDIS_URL"', '"unix://"', 'store.redis_url = "unix://"', "and an address"),
    ('"env:REDIS_URL"', '"localhost:6379"', 'store.redis_url = "localhost:6379"', "redis://, rediss:// or unix://"),
    ('"env:DATABASE_URL"', '"mysql://h/d"', 'store.database_url = "mysql://h/d"', "postgresql:// or sqlite://"),
    ("[store]", "[store]\npartitions = 101", "store.partitions = 101", "a whole number from 1 to 100"),
    ("[store]", "[store]\nlease_s = 0.5", "store.lease_s = 0.5", "seconds, 1 to 3600"),
    ("[store]", '[store]\ndeadline_s = "2"', 'store.deadline_s = "2"', "seconds, 0.1 to 60"),
    ("[store]", "[store]\nremember_s = 1.5", "store.remember_s = 1.5", "whole seconds, 60 to 2592000"),
    # ── licenses ──
    (*adding('[licenses]\ntier = "gold"'), 'licenses.tier = "gold"', "a tier of this file: free"),
    (*adding('[licenses]\ntier = 1'), "licenses.tier = 1", "the name of a tier of this file, or nothing"),
    (*adding('[licenses]\ntiers = "free"'), "licenses.tiers is not a key here", "did you mean tier?"),
    # ── upstreams ──
    ('base_url = "http://127.0.0.1:9000"\n', "", "upstreams.main.base_url is missing", "http:// or https://"),
    ("http://127.0.0.1:9000", "127.0.0.1:9000", 'upstreams.main.base_url = "127.0.0.1:9000"', "http:// or https://"),
    ("http://127.0.0.1:9000", "ftp://h", 'upstreams.main.base_url = "ftp://h"', "http:// or https:// and a host"),
    ("http://127.0.0.1:9000", "http://", 'upstreams.main.base_url = "http:', "http:// or https:// and a host"),
    ("http://127.0.0.1:9000", "http://[::1", "upstreams.main.base_url", "http:// or https:// and a host"),
    ("http://127.0.0.1:9000", "http://h:99999", "upstreams.main.base_url", "http:// or https:// and a host"),
    ("http://127.0.0.1:9000", "http://h:http", "upstreams.main.base_url", "http:// or https:// and a host"),
    ("http://127.0.0.1:9000", "http://a b", "upstreams.main.base_url", "http:// or https:// and a host"),
    ("http://127.0.0.1:9000", "http://h/?a=1", "upstreams.main.base_url", "without user, query and fragment"),
    ("http://127.0.0.1:9000", "http://h/#a", "upstreams.main.base_url", "without user, query and fragment"),
    ("connect_s = 5", "connect_s = -1", "upstreams.main.timeouts.connect_s = -1", "seconds, more than 0"),
    ("connect_s = 5", "conect_s = 5", "upstreams.main.timeouts.conect_s is not a key here", "did you mean connect_s?"),
    ('X-Team = "chat"', '"X Team" = "chat"', 'upstreams.main.headers."X Team"', "the name of an HTTP header"),
    ("[upstreams.main]", '[upstreams."my main"]', 'upstreams."my main"', "1-64 letters, digits, _ . or -"),
    ("timeouts = {", "max_connections = 0\ntimeouts = {", "upstreams.main.max_connections = 0", "from 1 to 100000"),
    (
        "timeouts = {", 'ca_file = "/nowhere/ca.pem"\ntimeouts = {',
        'upstreams.main.ca_file = "/nowhere/ca.pem"', "the path of a PEM file",
    ),
    # ── routes ──
    ('path = "/v1/chat/completions"', 'path = "v1"', 'routes[0].path = "v1"', "a path that begins with /"),
    ('path = "/v1/chat/completions"', 'path = "/v1/*/x"', 'routes[0].path = "/v1/*/x"', 'exact or with "/*"'),
    ('path = "/v1/chat/completions"', 'path = "/v1/../x"', 'routes[0].path = "/v1/../x"', "a path that begins with /"),
    ('path = "/v1/chat/completions"', f'path = "/{"x" * 300}"', "routes[0].path", "a path that begins with /"),
    ('methods = ["POST"]', 'methods = ["post"]', 'routes[0].methods[0] = "post"', "one of GET, POST"),
    ('methods = ["POST"]', 'methods = "POST"', 'routes[0].methods = "POST"', "a list of HTTP methods"),
    ('methods = ["POST"]', "methods = []", "routes[0].methods is an empty list", "a list of HTTP methods"),
    ('upstream = "main"', 'upstream = "mian"', 'routes[0].upstream = "mian"', "an upstream of this file: main"),
    ('operation = "chat"', 'operation = "chats"', 'routes[0].operation = "chats"', "chat, create_website"),
    ('dialect = "openai-chat"', 'dialect = "openai"', 'routes[0].dialect = "openai"', "one of openai-chat"),
    ('dialect = "openai-chat"', 'dialect = "path"', 'routes[0].dialect = "path"', "one of openai-chat"),
    ('dialect = "openai-chat"\n', "", "routes[0]", "either dialect or usage_path"),
    ('dialect = "openai-chat"', 'dialect = "auto"\nusage_path = "u"', "routes[0]", "either dialect or usage_path"),
    ('usage_path = "data.usage"', 'usage_path = "data..usage"', "routes[1].usage_path", "names joined by dots"),
    ('dialect = "openai-chat"', 'dialect = "auto"\non_lost = "keep"', 'routes[0].on_lost = "keep"', '"charge_counted"'),
    (ROUTE, f"{ROUTE}multiplier = 0.8", "routes[0].multiplier = 0.8", 'a decimal as text, such as "0.8"'),
    (ROUTE, f'{ROUTE}max_hold = "50_000"', 'routes[0].max_hold = "50_000"', "a whole number of units"),
    (ROUTE, f"{ROUTE}default_output_tokens = 0", "routes[0].default_output_tokens = 0", "tokens, 1 or more"),
    (ROUTE, f'{ROUTE}on_disconnect = "keep"', 'routes[0].on_disconnect = "keep"', '"drain" or "stop"'),
    (ROUTE, f'{ROUTE}on_store_outage = "open"', 'routes[0].on_store_outage = "open"', '"deny" or "allow"'),
    (ROUTE, f'{ROUTE}on_missing_usage = "free"', 'routes[0].on_missing_usage = "free"', '"estimate" or "charge_hold"'),
    (ROUTE, f'{ROUTE}on_renewal_outage = "drop"', 'routes[0].on_renewal_outage = "drop"', '"cut" or "stream"'),
    (ROUTE, f'{ROUTE}on_renew_outage = "cut"', "routes[0].on_renew_outage is not", "did you mean on_renewal_outage?"),
    (ROUTE, f'{ROUTE}stream_balance = "yes"', 'routes[0].stream_balance = "yes"', "true or false"),
    # ── identity ──
    ("decimals = 2", 'trusted_proxies = ["10.0.0.1/8"]', 'gateway.trusted_proxies[0] = "10.0.0.1/8"', "an address or"),
    ("decimals = 2", 'trusted_proxies = ["proxy"]', 'gateway.trusted_proxies[0] = "proxy"', "an address or a network"),
    (
        "decimals = 2", 'trusted_proxies = "10.0.0.0/8"',
        'gateway.trusted_proxies = "10.0.0.0/8"', "a list, each item an address or a network",
    ),
    (*adding('[identity.anonymous]\ntier = 1'), "identity.anonymous.tier = 1", "the name of a tier of this file"),
    (*adding("[identity]\nanonymous = true"), "identity.anonymous (not shown)", "a table"),
    (*adding('[identity.jwt]\nissuer = "x"'), "identity.jwt (not shown)", "a list of tables"),
    (*adding('[identity.trusted_header]\nheader = ""'), 'identity.trusted_header.header = ""', "of an HTTP header"),
    (*adding("[identity.trusted_header]\ntrust_proxies = 1"), "identity.trusted_header.trust_proxies = 1", "true or"),
    (*adding('[identity.trusted_header]\nsecret = "short"'), "identity.trusted_header.secret (not", "at least 16"),
    (*adding("[identity.jwts]"), "identity.jwts is not a key here", "did you mean jwt?"),
    # ── idempotency, observability ──
    (*adding("[idempotence]"), "idempotence is not a key here", "did you mean idempotency?"),
    (*adding("[idempotency]\nkeep = 60"), "idempotency.keep is not a key here", "did you mean keep_s?"),
    (*adding('[idempotency]\nenabled = "yes"'), 'idempotency.enabled = "yes"', "true or false"),
    (*adding("[idempotency]\nkeep_s = 0"), "idempotency.keep_s = 0", "whole seconds, 1 to 2592000"),
    (*adding("[idempotency]\nmax_bytes = -1"), "idempotency.max_bytes = -1", "a whole number of bytes from 0 to"),
    (*adding("[observability]\nloglevel = 1"), "observability.loglevel is not a key here", "did you mean log_level?"),
    (*adding('[observability]\nlog_level = "loud"'), 'observability.log_level = "loud"', '"warning" or "error"'),
    (*adding('[observability]\nlog_format = "xml"'), 'observability.log_format = "xml"', '"text" or "json"'),
    (*adding("[observability]\nmetrics = 1"), "observability.metrics = 1", "true or false"),
    (*adding('[observability]\nmetrics_token = "short"'), "observability.metrics_token (not shown)", "at least 16"),
    (
        *adding('[observability]\ntraces_endpoint = "collector:4318"'),
        'observability.traces_endpoint = "collector:4318"', "http:// or https://, a host and a path",
    ),
    # ── notifications ──
    (*adding("[notification]"), "notification is not a key here", "did you mean notifications?"),
    (*adding('[notifications]\nkinds = ["low"]'), 'notifications.kinds[0] = "low"', 'one of "low_balance"'),
    (*adding('[notifications]\nkinds = "exhausted"'), 'notifications.kinds = "exhausted"', 'a list, each item one of'),
    (*adding("[notifications]\nthresholds = [80]"), "notifications.thresholds[0] = 80", "a share, from 0.001 to 1.0"),
    (
        *adding('[notifications]\nkinds = ["threshold"]\nthresholds = []'),
        "notifications.thresholds is empty", 'notifications.kinds has "threshold"',
    ),
    (
        *adding(f'[notifications.webhook]\nurl = "https://h/x"\nsecret = "{"s" * 16}"'),
        "notifications.kinds is empty", 'such as kinds = ["exhausted"]',
    ),
    (*adding(WEBHOOK.replace("https://h/x", "h/x")), 'notifications.webhook.url = "h/x"', "http:// or https://"),
    (*adding(WEBHOOK.replace("s" * 16, "short")), "notifications.webhook.secret (not shown)", "at least 16 characters"),
    (*adding(WEBHOOK.replace("s" * 16, "whsec_AAAA")), "notifications.webhook.secret (not shown)", "in Base64"),
    (*adding(WEBHOOK.replace("s" * 16, "whsec_?")), "notifications.webhook.secret (not shown)", "16 bytes in Base64"),
    (*adding(EMAIL.replace("q@example.com", "nobody")), 'notifications.email.sender = "nobody"', "an address such as"),
    (*adding(EMAIL.replace("smtp.example", "a b")), 'notifications.email.host = "a b"', "of an SMTP server"),
    (*adding(EMAIL + "port = 0"), "notifications.email.port = 0", "a port from 1 to 65535"),
    (*adding(EMAIL + 'security = "ssl"'), 'notifications.email.security = "ssl"', '"starttls", "tls" or "none"'),
    (*adding(EMAIL + 'user = "ada"'), "notifications.email: user and password belong together", "one of them is"),
    (
        *adding(EMAIL + 'user = "ada"\npassword = "p"\nsecurity = "none"'),
        'notifications.email.security = "none"', 'in the clear: use "starttls"',
    ),
    ("[upstreams.main]", "[identity.anonymous]\n[upstreams.main]", "identity.anonymous.tier is missing", "a tier of"),
    (
        "[upstreams.main]", '[identity.anonymous]\ntier = "gold"\n[upstreams.main]',
        'identity.anonymous.tier = "gold"', "must be a tier of this file: free, pro",
    ),
    (
        "[upstreams.main]", "[identity.trusted_header]\ntrust_proxies = true\n[upstreams.main]",
        "identity.trusted_header.trust_proxies", "gateway.trusted_proxies names none",
    ),
    (
        "[upstreams.main]", '[identity.trusted_header]\ntier_header = "X Tier"\n[upstreams.main]',
        "identity.trusted_header.tier_header", "the name of an HTTP header",
    ),
    # ── operations, prices, tiers ──
    ('price = "tokens"', 'price = "token"', 'operations.chat.price = "token"', '0 for free, or "tokens"'),
    ("price = 1\n", "price = 1.5\n", "operations.create_website.price = 1.5", "a whole number of units"),
    ("price = 1\n", "price = -1\n", "operations.create_website.price = -1", "a whole number of units"),
    ("price = 1\n", "price = true\n", "operations.create_website.price = true", "a whole number of units"),
    ("price = 1\n", "price = 1\nlease_s = 0\n", "operations.create_website.lease_s = 0", "whole seconds, 1 to 86400"),
    ("price = 1\n", "price = 1\nlease_s = 1.5\n", "operations.create_website.lease_s = 1.5", "whole seconds"),
    (
        "price = 1\n", 'price = 1\non_lost = "charge_counted"\n',
        'operations.create_website.on_lost = "charge_counted"', '"release" or "charge_hold"',
    ),
    ("price = 1\n", "", "operations.create_website.price is missing", "a whole number of units"),
    ("input = 2_500_000\n", "", 'prices."gpt-4o*".input is missing', "a whole number of units per million tokens"),
    ("output = 10_000_000", "output = 0.5", 'prices."gpt-4o*".output = 0.5', "a whole number of units per million"),
    ("signup = 15", "signup = 9007199254740992", "tiers.free.signup = 9007199254740992", "from 0 to 9007199254740991"),
    ("signup = 15", 'signup = "15"', 'tiers.free.signup = "15"', "a whole number of units"),
    ('every = "day"', 'every = "year"', 'tiers.free.allowance[0].every = "year"', '"week" or "month"'),
    ("amount = 5 }", 'amount = 5, from = "may" }', 'tiers.free.allowance[0].from = "may"', "a weekday such as"),
    ("amount = 5 }", "amount = 5, from = 32 }", "tiers.free.allowance[0].from = 32", "a day from 1 to 31"),
    ("amount = 5 }", "amount = 5, from = true }", "tiers.free.allowance[0].from = true", "a day from 1 to 31"),
    ("amount = 5 }", 'amount = 5, from = "monday" }', 'tiers.free.allowance[0].from = "monday"', "only weeks begin on"),
    ("amount = 5 }", "amount = 5, from = 15 }", "tiers.free.allowance[0].from = 15", "only months begin on"),
    ("amount = 5 }", "amount = 5, form = 15 }", "tiers.free.allowance[0].form is not a key", "did you mean from?"),
    ("amount = 5 }", "amount = 5, rollover = -1 }", "tiers.free.allowance[0].rollover = -1", "a whole number of units"),
    ("signup = 15", "reset_hour = 24", "tiers.free.reset_hour = 24", "an hour from 0 to 23"),
    ('timezone = "Asia/Jakarta"', "reset_hour = -1", "gateway.reset_hour = -1", "an hour from 0 to 23"),
    (LIMITS, "reset_hour = 4.5", "tiers.free.reset_hour = 4.5", "an hour from 0 to 23"),
    ('every = "day", amount = 5', 'every = "day"', "tiers.free.allowance[0].amount is missing", "a whole number of"),
    ("amount = 50 }", "amount = 50, rollover = true }", "tiers.free.allowance[1].rollover = true", "a whole number of"),
    ("amount = 50 }", "amount = 50, from = 0 }", "tiers.free.allowance[1].from = 0", "a day from 1 to 31"),
    ("amount = 50 }", 'amount = 50, from = "Monday" }', 'tiers.free.allowance[1].from = "Monday"', 'such as "monday"'),
    ("[tiers.pro]\nallowance = [{", "[tiers.pro]\nallowance = [5, {", "tiers.pro.allowance[0] = 5", "a table"),
    (
        "[tiers.free]", '[tiers.new]\nallowance = { every = "day" }\n[tiers.free]',
        "tiers.new.allowance is a table", "a list of tables",
    ),
    (LIMITS, "multiplier = 1.25", "tiers.free.multiplier = 1.25", 'a decimal as text, such as "0.8"'),
    (LIMITS, "multiplier = 1001", "tiers.free.multiplier = 1001", "from 0 to 1000"),
    (LIMITS, "burn_order = []", "tiers.free.burn_order is an empty list", 'a list of "hour", "day"'),
    (LIMITS, 'burn_order = ["credit"]', 'tiers.free.burn_order[0] = "credit"', '"month" or "credits"'),
    (LIMITS, "warn_at = 0.8", "tiers.free.warn_at = 0.8", "a list of shares between 0 and 1, such as [0.8, 0.95]"),
    (LIMITS, 'warn_at = ["80%"]', 'tiers.free.warn_at[0] = "80%"', "a share, from 0.001 to 1.0"),
    ("amount = 5 }", "amount = 0 }", "tiers.free.allowance[0].amount = 0", "a whole number of units from 1"),
    ('every = "month"', 'every = "day"', 'tiers.free.allowance[1].every = "day"', "one allowance of a kind"),
    ("warn_below = 5", "warn_below = -1", "tiers.free.warn_below = -1", "a whole number of units"),
    ("warn_below = 5", 'burn_order = ["day"]', "tiers.free.burn_order", 'leaves out "month"'),
    ("warn_below = 5", 'burn_order = ["day", "month", "day"]', "tiers.free.burn_order", "names a bucket twice"),
    ("warn_below = 5", "operations = { chats = 1 }", "tiers.free.operations.chats", "chat, create_website"),
    # ── limits ──
    (
        LIMITS, 'limits = ["20 per minute"]',
        'tiers.free.limits[0].limit = "20 per minute"', 'such as "60 requests/minute"',
    ),
    (LIMITS, 'limits = ["0 requests/minute"]', 'tiers.free.limits[0].limit = "0 requests/minute"', "from 1 to"),
    (LIMITS, 'limits = ["1 request/99 days"]', 'tiers.free.limits[0].limit = "1 request/99 days"', "at most 31 days"),
    (LIMITS, 'limits = ["999999937 tokens/day"]', 'tiers.free.limits[0].limit', "a rounder number"),
    (LIMITS, 'limits = ["1 request/day", "2 requests/day"]', "tiers.free.limits[1]", 'called "requests-per-day"'),
    (
        LIMITS, 'limits = [{ limit = "1 request/day", name = "day" }]',
        'tiers.free.limits[0].name = "day"', "another name",
    ),
    (
        LIMITS, 'limits = [{ limit = "1 request/day", by = "user" }]',
        "tiers.free.limits[0].by[0]", "one of account, key",
    ),
    (LIMITS, 'limits = [{ limit = "1 request/day", by = ["ip", "ip"] }]', "tiers.free.limits[0].by", "twice"),
    (LIMITS, 'limits = [{ limit = "1 request/day", mode = "dry" }]', 'tiers.free.limits[0].mode = "dry"', '"shadow"'),
    (LIMITS, 'limits = [{ limit = "1 request/day", mode = "throttle" }]', "tiers.free.limits[0].mode", "output tokens"),
    (
        LIMITS, 'limits = [{ limit = "1 request/day", routes = ["/x"] }]',
        'tiers.free.limits[0].routes[0] = "/x"', "one of this file",
    ),
    (
        LIMITS, 'limits = [{ limit = "1 request/day", operations = ["x"] }]',
        "tiers.free.limits[0].operations[0]", "chat",
    ),
    (LIMITS, 'limits = [{ limit = "1 request/day", warn_at = [80] }]', "tiers.free.limits[0].warn_at[0]", "a share"),
    (LIMITS, 'limits = [{ mode = "shadow" }]', "tiers.free.limits[0].limit is missing", "such as"),
    (LIMITS, 'limits = "2 concurrent"', 'tiers.free.limits = "2 concurrent"', "a list, each item a limit such as"),
    (LIMITS, 'limit = ["2 concurrent"]', "tiers.free.limit is not a key here", "did you mean limits?"),
    (LIMITS, 'limits = ["1 request/day burst"]', 'tiers.free.limits[0].limit = "1 request/day burst"', "burst 5000"),
    (LIMITS, 'limits = ["2 concurrent burst 3"]', "tiers.free.limits[0].limit = ", 'or "4 concurrent"'),
    (LIMITS, "limits = [{ limit = 5 }]", "tiers.free.limits[0].limit = 5", "a limit such as"),
    (LIMITS, 'limits = [{ limit = "1 request/day", by = [] }]', "tiers.free.limits[0].by is an empty", "one or more"),
    (
        LIMITS, 'limits = [{ limit = "1 request/day", name = "a day" }]',
        'tiers.free.limits[0].name = "a day"', "1-64 letters",
    ),
    (
        LIMITS, 'limits = [{ limit = "1 request/day", model = ["x"] }]',
        "tiers.free.limits[0].model is not a key here", "Known: limit, name, by, mode, models",
    ),
    (
        LIMITS, 'limits = [{ limit = "1 request/day", models = "x" }]',
        'tiers.free.limits[0].models = "x"', "a list of model names or globs",
    ),
    (LIMITS, "limits = [5]", "tiers.free.limits[0] = 5", "a limit such as"),
    ("[tiers.free]", '[tiers."free tier"]', 'tiers."free tier"', "1-64 letters"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said", "may"), TABLE, ids=[said[:50] for _, _, said, _ in TABLE])
def test_a_fault_names_its_key_what_stands_there_and_what_may(old: str, new: str, said: str, may: str) -> None:
    [fault] = faults_of(changed(old, new))

    assert fault.startswith(said)
    assert may in fault


#: What is changed in the table of an issuer, where the fault is told, and a part of what may stand there.
ISSUERS: list[tuple[dict[str, str | None], str, str]] = [
    ({"issuer": None}, ".issuer is missing", "the tokens' iss"),
    ({"audience": None}, ".audience is missing", "a text or a list of texts"),
    ({"audience": '""'}, ".audience", "a text or a list of texts"),
    ({"audience": '["a", 7]'}, ".audience", "a text or a list of texts"),
    ({"algorithms": None}, ".algorithms is missing", "a list of algorithms"),
    ({"algorithms": "[]"}, ".algorithms", "a list of algorithms"),
    ({"algorithms": '["none"]'}, ".algorithms[0]", "one of HS256"),
    ({"algorithms": '["HS256", "RS256"]'}, ".algorithms: RS256", "is not verified with a secret"),
    ({"secret": None}, ":", "says one of secret, jwks_url and jwks_file"),
    ({"jwks_url": '"https://h/k"'}, ":", "says one of secret, jwks_url and jwks_file"),
    ({"secret": f'"{"s" * 31}"'}, ".secret", "at least 32 bytes"),
    ({"secret": f'"{"s" * 40}"', "algorithms": '["HS512"]'}, ".secret", "at least 64 bytes for HS512"),
    ({"secret": None, "jwks_url": '"https://h/k"'}, ".algorithms: HS256", "is not verified with a key set"),
    ({"secret": None, "jwks_url": '"http://h/k"'}, ".jwks_url", "https://"),
    ({"secret": None, "jwks_url": '"http://localhost.evil.com/k"'}, ".jwks_url", "https://"),
    ({"secret": None, "jwks_url": '"http://127.0.0.1@evil.com/k"'}, ".jwks_url", "https://"),
    ({"secret": None, "jwks_url": '"https://user:password@h/k"'}, ".jwks_url", "https://"),
    ({"secret": None, "jwks_url": '"https://"'}, ".jwks_url", "https://"),
    ({"secret": None, "jwks_url": '"https://h:0/"'}, ".jwks_url", "https://"),
    ({"secret": None, "jwks_url": '"file:///etc/passwd"'}, ".jwks_url", "https://"),
    ({"secret": None, "jwks_file": '"/nowhere/keys"'}, ".jwks_file", "the path of a JSON Web Key Set"),
    ({"leeway_s": "-1"}, ".leeway_s", "seconds, 0 to 300"),
    ({"claims": '{ acount = "sub" }'}, ".claims.acount is not a key here", "did you mean account?"),
    ({"claims": '{ account = "" }'}, ".claims.account", "a claim or a dotted path"),
]


@pytest.mark.parametrize(("change", "said", "may"), ISSUERS, ids=[str(change)[:60] for change, _, _ in ISSUERS])
def test_a_fault_of_an_issuer_names_its_key_and_what_may_stand_there(
    change: dict[str, str | None], said: str, may: str
) -> None:
    [fault] = faults_of(changed("[upstreams.main]", jwt(**change) + "[upstreams.main]"))

    assert fault.startswith(f"identity.jwt[0]{said}")
    assert may in fault


def test_a_slip_in_the_name_of_a_table_is_told_as_one() -> None:
    missing, unknown = faults_of(changed("[gateway]", "[gatway]"))

    assert missing == "gateway is missing; it must be a table"
    assert unknown.startswith("gatway is not a key here; did you mean gateway? Known: gateway, store")


def test_several_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    text = changed('"Asia/Jakarta"', '"Mars"').replace("decimals = 2", "decimals = -1").replace('"openai-chat"', '"x"')

    faults = faults_of(text.replace("signup = 15", "signup = 1.5"))

    assert [fault.split(" ")[0] for fault in faults] == [
        "gateway.timezone", "gateway.decimals", "routes[0].dialect", "tiers.free.signup",
    ]  # fmt: skip


def test_names_that_point_nowhere_are_told_all_at_once() -> None:
    text = changed('default_tier = "free"', 'default_tier = "x"').replace('upstream = "main"', 'upstream = "y"')

    faults = faults_of(text.replace('operation = "chat"', 'operation = "z"'))

    assert {fault.split(" ")[0] for fault in faults} == {
        "routes[0].upstream", "routes[0].operation", "routes[1].upstream", "gateway.default_tier",
    }  # fmt: skip


def test_two_tables_of_one_issuer_are_told_apart_by_nothing() -> None:
    [fault] = faults_of(changed("[upstreams.main]", jwt() + jwt(audience='"another"') + "[upstreams.main]"))

    assert fault.startswith("identity.jwt[1].issuer: another table has the same")


def test_the_error_reads_as_a_list_under_the_files_name() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(changed("decimals = 2", "decimals = -1"), "/etc/quotagate.toml", ENVIRONMENT)

    assert str(caught.value) == (
        "/etc/quotagate.toml: 1 fault(s)\n  gateway.decimals = -1: must be a whole number from 0 to 15"
    )


@pytest.mark.parametrize("missing", ["upstreams", "routes", "operations", "tiers"])
def test_a_config_needs_one_of_each(missing: str) -> None:
    tables = {
        "gateway": 'gateway = { default_tier = "free" }',
        "upstreams": 'upstreams = { main = { base_url = "" } }',
        "routes": 'routes = [{ path = "/x", upstream = "main", dialect = "auto", operation = "chat" }]',
        "operations": "operations = { chat = { price = 1 } }",
        "tiers": "tiers = { free = {} }",
    }
    parse("\n".join(tables.values()), "config.toml", {})

    [fault] = faults_of("\n".join(line for name, line in tables.items() if name != missing))
    assert fault.startswith(f"{missing} is missing; it must be at least one [")


def test_a_route_that_could_never_be_priced_is_refused() -> None:
    before, prices, after = SKETCH.partition('[prices."gpt-4o*"]')
    text = before + "[tiers.free]" + after.partition("[tiers.free]")[2]

    [fault] = [fault for fault in faults_of(text) if "tiers.free" in fault]
    assert fault == 'routes[0].operation = "chat" is priced by tokens for tiers.free, and [prices] is empty'
    assert prices


def test_a_text_that_is_not_toml_is_refused_with_its_place() -> None:
    [fault] = faults_of("[gateway]\nlisten = 127.0.0.1:8000")

    assert fault.startswith("is not TOML: ")
    assert "line 2" in fault


def test_a_variable_that_stands_for_something_wrong_is_shown() -> None:
    """The file alone would not tell what is wrong."""
    [fault] = faults_of(SKETCH, {"REDIS_URL": "memcached://h"})

    assert fault.startswith('store.redis_url = "memcached://h": must be redis://')


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('X-Team = "chat"', 'X-Key = "hunter2\\n"'),
        ('X-Team = "chat"', 'X-Key = ["hunter2"]'),
        ('headers = { Authorization = "Bearer env:UPSTREAM_KEY", X-Team = "chat" }', 'headers = "Bearer hunter2"'),
        ('X-Team = "chat"', '"X Key" = "hunter2"'),
        ("http://127.0.0.1:9000", "ftp://user:hunter2@h"),
        ("http://127.0.0.1:9000", "http://user:hunter2@h"),
        ("http://127.0.0.1:9000", "http://:hunter2@h"),
        ("http://127.0.0.1:9000", "http://hunter2@h:99999"),
        ("http://127.0.0.1:9000", "http://h/?key=hunter2"),
        ("http://127.0.0.1:9000", "user:hunter2@h"),
        ('"env:DATABASE_URL"', '"mysql://user:hunter2@h/d"'),
        ('"env:DATABASE_URL"', '"mysql://user:p@hunter2@h/d"'),
        ('"env:DATABASE_URL"', '"mysql://user:p/hunter2@h/d"'),
        ('"env:DATABASE_URL"', '"mysql://h/d?user=u&password=hunter2"'),
        ('"env:DATABASE_URL"', '"host=h dbname=d password=hunter2"'),
        ('"env:REDIS_URL"', '":hunter2@localhost:6379"'),
        ('"env:REDIS_URL"', '["redis://:hunter2@h"]'),
        ("[upstreams.main]", '[identity.trusted_header]\nsecret = "hunter2"\n[upstreams.main]'),
        ("[upstreams.main]", '[identity.trusted_header]\nsecret = ["hunter2"]\n[upstreams.main]'),
        ("[upstreams.main]", '[identity.trusted_header]\nsecrets = "hunter2"\n[upstreams.main]'),
        ("[upstreams.main]", jwt(secret='"hunter2"') + "[upstreams.main]"),
        ("[upstreams.main]", jwt(secret='["hunter2"]') + "[upstreams.main]"),
        ("[upstreams.main]", jwt(secret=None, jwks_url='"http://h/hunter2"') + "[upstreams.main]"),
        ("[upstreams.main]", '[identity]\ntrusted_header = "hunter2"\n[upstreams.main]'),
        ("[upstreams.main]", '[identity]\njwt = ["hunter2"]\n[upstreams.main]'),
        ("[gateway]", 'identity = "hunter2"\n[gateway]'),
        ("[upstreams.main]", '[observability]\nmetrics_token = "hunter2"\n[upstreams.main]'),
        ("[upstreams.main]", '[observability]\nmetrics_tokens = "hunter2"\n[upstreams.main]'),
        ("[upstreams.main]", '[upstreams.main]\napi_key = "hunter2"'),
        ("[upstreams.main]", WEBHOOK.replace("s" * 16, "hunter2") + "\n[upstreams.main]"),
        ("[upstreams.main]", WEBHOOK.replace("https://h/x", "https://h/x?hunter2#x") + "\n[upstreams.main]"),
        ("[upstreams.main]", EMAIL + 'password = "hunter2"\n[upstreams.main]'),
    ],
)  # fmt: skip
def test_no_fault_shows_a_secret(old: str, new: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(changed(old, new), "config.toml", ENVIRONMENT)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None or "hunter2" not in str(caught.value.__cause__)
