"""Configs for tests: the shape of config.toml, with what a test needs."""

from __future__ import annotations

BASE = """
[gateway]
listen = "127.0.0.1:0"
timezone = "Asia/Jakarta"
default_tier = "free"

[store]
redis_url = "{redis_url}"
database_url = "{database_url}"
{store}

[identity.trusted_header]
secret = "a secret of the backend"

[upstreams.main]
base_url = "{upstream_url}"
headers = {{ Authorization = "Bearer upstream-secret" }}
timeouts = {{ connect_s = 2, first_byte_s = {first_byte_s}, idle_s = {idle_s} }}

{routes}

[operations.chat]
price = "tokens"
[operations.fixed]
price = 3
[operations.free]
price = 0

[prices."*"]
input = 1_000_000
output = 1_000_000
[prices."gpt-4o*"]
input = 2_500_000
cached_input = 1_250_000
output = 10_000_000

[tiers.free]
signup = 15
allowance = [{{ every = "day", amount = 5 }}]
operations = {{ chat = 1 }}
warn_below = 5

[tiers.payg]
[tiers.pro]
signup = 1_000_000
allowance = [{{ every = "month", amount = 1_000_000_000 }}]

{more}
"""

ROUTES = {
    "/v1/chat/completions": "openai-chat",
    "/v1/responses": "openai-responses",
    "/v1/embeddings": "openai-embeddings",
    "/v1/messages": "anthropic-messages",
    "/v1beta/models/*": "gemini",
    "/v1beta/interactions": "gemini-interactions",
    "/v2/chat": "cohere",
    "/v1/chat-messages": "dify",
    "/api/chat": "ollama",
    "/auto": "auto",
}


def route(path: str, dialect: str, operation: str = "chat", extra: str = "") -> str:
    return (
        f'[[routes]]\npath = "{path}"\nupstream = "main"\ndialect = "{dialect}"\noperation = "{operation}"\n{extra}\n'
    )


def config_text(
    *,
    redis_url: str = "",
    database_url: str = "",
    upstream_url: str = "http://127.0.0.1:9",
    routes: str | None = None,
    first_byte_s: float = 20,
    idle_s: float = 20,
    store: str = "",
    more: str = "",
) -> str:
    """A whole config. `routes`: TOML in place of the usual ones; `store`, `more`: TOML lines to add."""
    if routes is None:
        routes = "\n".join(route(path, dialect) for path, dialect in ROUTES.items())
        routes += route("/fixed", "openai-chat", "fixed") + route("/free", "auto", "free", 'methods = ["GET", "POST"]')
    return BASE.format(
        redis_url=redis_url, database_url=database_url, upstream_url=upstream_url, routes=routes,
        first_byte_s=first_byte_s, idle_s=idle_s, store=store, more=more,
    )  # fmt: skip
