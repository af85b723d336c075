"""The official clients under real limits: what each raises, how often it calls, how long it waits.

All clients ask at the same time, each for an account of its own. What reached the gateway is read from its access log.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors, types

from tests.acceptance.test_clients import ANTHROPIC_MESSAGE, HELLO
from tests.acceptance.test_reload import reload
from tests.support.config import route
from tests.support.node import NodeClients
from tests.support.processes import GatewaySystem
from tests.support.upstream import Request, Step, Upstream, Wait, json_answer, openai_json
from tests.support.waiting import until

#: Every call holds 40 output tokens, and uses them; it costs 1.
CONFIG = {
    "routes": route("/v1/chat/completions", "openai-chat", "one", "default_output_tokens = 40")
    + route("/v1/messages", "anthropic-messages", "one")
    + route("/v1beta/models/*", "gemini", "one", "default_output_tokens = 40")
    + route("/last", "auto", "free", 'methods = ["GET"]'),
    "more": """
[operations.one]
price = 1
[observability]
access_log = true
log_format = "json"
[tiers.brisk]
signup = 100
limits = ["1 request/4 seconds burst 0"]
[tiers.wordy]
signup = 100
limits = ["40 output tokens/4 seconds"]
[tiers.hourly]
signup = 100
limits = ["1 request/hour"]
[tiers.narrow]
signup = 100
limits = ["39 output tokens/hour"]
[tiers.crowded]
signup = 100
limits = ["1 concurrent"]
[tiers.daily]
allowance = [{ every = "day", amount = 1 }]
[tiers.ample]
signup = 100
limits = ["9 requests/hour", "9000 tokens/hour"]
""",
}

# ── the clients ──────────────────────────────────────────────────────────────────────────────────────────────────────

#: The text of an answer, or what was raised; with `status`, `code` and `message` of the error; `headers` of either.
Said = dict[str, Any]
Headers = Mapping[str, str]
#: Address, key, and headers that the caller adds.
Ask = Callable[[str, str, Headers], Said]


def ask_openai(url: str, key: str, sent: Headers) -> Said:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        raw = client.chat.completions.with_raw_response.create(model="m", messages=HELLO, extra_headers=sent)
    return {"text": raw.parse().choices[0].message.content, "headers": raw.headers}


def ask_openai_async(url: str, key: str, sent: Headers) -> Said:
    async def ask() -> Said:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client:
            raw = await client.chat.completions.with_raw_response.create(model="m", messages=HELLO, extra_headers=sent)
        return {"text": raw.parse().choices[0].message.content, "headers": raw.headers}

    return asyncio.run(ask())


def ask_anthropic(url: str, key: str, sent: Headers) -> Said:
    with anthropic.Anthropic(base_url=url, api_key=key) as client:
        raw = client.messages.with_raw_response.create(model="m", max_tokens=40, messages=HELLO, extra_headers=sent)
    return {"text": raw.parse().content[0].text, "headers": raw.headers}  # type: ignore[union-attr]


def ask_gemini(url: str, key: str, sent: Headers) -> Said:
    options = types.HttpOptions(base_url=url, api_version="v1beta", headers=dict(sent))
    with genai.Client(api_key=key, http_options=options) as client:
        answer = client.models.generate_content(model="m", contents="Hello")
    assert answer.sdk_http_response is not None
    return {"text": answer.text, "headers": httpx2.Headers(answer.sdk_http_response.headers)}


PYTHON: dict[str, Ask] = {
    "openai": ask_openai,
    "openai-async": ask_openai_async,
    "anthropic": ask_anthropic,
    "google-genai": ask_gemini,
}
#: Their names in ask.mjs.
NODE = {"openai-node": "openai", "ai-sdk": "ai-sdk"}


def in_a_row(ask: Ask, url: str, key: str, calls: Sequence[Headers]) -> Said:
    """What a client in Python made of the last of several calls, each with headers of its own."""
    said: Said = {}
    for sent in calls:
        try:
            said = ask(url, key, sent)
        except (openai.APIStatusError, anthropic.APIStatusError) as error:
            said = {"status": error.status_code, "code": getattr(error, "code", None), "message": error.message}
            said |= {"error": type(error).__name__, "headers": error.response.headers}
        except errors.APIError as error:
            said = {"status": error.code, "message": error.message, "error": type(error).__name__}
            said["headers"] = error.response.headers
    return said


# ── all of them at once ──────────────────────────────────────────────────────────────────────────────────────────────


class Account(NamedTuple):
    """One client's account."""

    client: str
    id: str
    key: str


@dataclass(frozen=True)
class Seen:
    """A call as the gateway saw it."""

    status: int
    code: str | None
    model: str
    came: datetime
    ended: datetime


@dataclass(frozen=True)
class Outcome:
    """What a client made of its calls, and what they were to the gateway."""

    said: Said
    calls: list[Seen]

    @property
    def brief(self) -> tuple[str, list[int]]:
        return self.said.get("text") or self.said["error"], [call.status for call in self.calls]

    @property
    def waits_s(self) -> list[float]:
        """From each answer to the next call."""
        pairs = itertools.pairwise(self.calls)
        return [(later.came - sooner.ended).total_seconds() for sooner, later in pairs]


class Clients:
    """Every client, against one gateway."""

    def __init__(self, system: GatewaySystem, node: NodeClients) -> None:
        self.system = system
        self._node = node
        self._numbers = itertools.count(1)

    def all_ask(self, tier: str, *calls: Headers) -> dict[str, Outcome]:
        """What each made of the last of some calls in a row."""
        return self.all_do(tier, lambda account: self.ask(account, *calls))

    def all_do(self, tier: str, act: Callable[[Account], Said]) -> dict[str, Outcome]:
        """What became of `act`, for each client at the same time, with a new account."""
        accounts = self._open(tier)
        with ThreadPoolExecutor(len(accounts)) as pool:
            said = dict(zip(accounts, pool.map(act, accounts), strict=True))
        # The log has every call that came before this one, once it has this one.
        last = accounts[0]
        httpx2.get(f"{self.system.url}/last", headers={"x-api-key": last.key})
        until(lambda: "" in [call.model for call in self.seen(last)], what="the last call in the log")
        return {
            account.client: Outcome(said[account], [call for call in self.seen(account) if call.model == "m"])
            for account in accounts
        }

    def ask(self, account: Account, *calls: Headers) -> Said:
        """What the account's client made of the last of some calls in a row, each with headers of its own."""
        client, url = account.client, self.system.url
        if client in PYTHON:
            return in_a_row(PYTHON[client], url, account.key, calls)
        return self._node.ask_in_a_row(NODE[client], url, account.key, calls)

    def seen(self, account: Account) -> list[Seen]:
        """The calls of an account that have ended, in the order of their ends."""
        whole, _, _ = self.system.log("gateway").rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [_seen(line) for line in lines if line.get("account") == account.id]

    def _open(self, tier: str) -> list[Account]:
        number = next(self._numbers)
        ids = {client: f"{tier}-{number}-{client}" for client in (*PYTHON, *NODE)}
        names = self.system.folder / "accounts"
        names.write_text("\n".join(ids.values()))
        made = self.system.cli("keys", "create", "--from", str(names), "--tier", tier)
        keys = dict(line.split("\t") for line in made.splitlines() if "\t" in line)
        return [Account(client, id, keys[id]) for client, id in ids.items()]


def _seen(line: dict[str, Any]) -> Seen:
    ended = datetime.fromisoformat(line["time"])
    came = ended - timedelta(milliseconds=line["duration_ms"])
    return Seen(line["status"], line.get("code"), line["model"] or "", came, ended)


def briefs(outcomes: dict[str, Outcome]) -> dict[str, tuple[str, list[int]]]:
    return {client: outcome.brief for client, outcome in outcomes.items()}


#: Calls that stay upstream until they are let go, by their header tracestate, which passes the gateway.
STAYS: dict[str, Wait] = {}
GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP"}],
          "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 40, "totalTokenCount": 49}}  # fmt: skip
CLAUDE = ANTHROPIC_MESSAGE | {"usage": {"input_tokens": 9, "output_tokens": 40}}


def answer(request: Request) -> list[Step]:
    body = openai_json(prompt=9, completion=40)
    if request.target.startswith("/v1beta"):
        body = GEMINI
    elif request.target == "/v1/messages":
        body = CLAUDE
    stay = STAYS.get(request.header("tracestate") or "")
    return [*([stay] if stay else []), *json_answer(body)]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> NodeClients:
    return NodeClients(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="module")
def clients(system: GatewaySystem, node: NodeClients) -> Clients:
    return Clients(system, node)


@pytest.fixture(autouse=True)
def answering(shared_upstream: Upstream) -> None:
    shared_upstream.script = answer


# ── limits that are over soon ────────────────────────────────────────────────────────────────────────────────────────

#: Those that call again on their own. google-genai does so when its caller asks for it.
PATIENT = ("openai", "openai-async", "anthropic", "openai-node", "ai-sdk")


@pytest.mark.parametrize("tier", ["brisk", "wordy"])
def test_a_short_limit_of_requests_or_tokens_is_waited_out_at_the_first_try(tier: str, clients: Clients) -> None:
    outcomes = clients.all_ask(tier, {}, {})

    # Had one come back earlier than it was told, it would have been refused again.
    assert briefs(outcomes) == {
        **dict.fromkeys(PATIENT, ("Hello.", [200, 429, 200])),
        "google-genai": ("ClientError", [200, 429]),
    }
    assert {outcome.calls[1].code for outcome in outcomes.values()} == {"rate_limit_exceeded"}
    for client in PATIENT:
        assert outcomes[client].waits_s[1] < 10


@contextlib.contextmanager
def staying(account: Account, upstream: Upstream, ask: Callable[[Headers], Any]) -> Iterator[threading.Event]:
    """A call of the account's stays upstream, until the event is set or the block ends. `ask` makes it."""
    stay = STAYS[account.id] = Wait()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(ask, {"tracestate": account.id})
        try:
            until(
                lambda: account.id in [seen.header("tracestate") for seen in upstream.requests],
                what="the call upstream",
            )
            yield stay.until
        finally:
            stay.until.set()
    call.result()


def full_house(
    clients: Clients, account: Account, upstream: Upstream
) -> contextlib.AbstractContextManager[threading.Event]:
    """A call of somebody else takes the account's only place."""
    url = f"{clients.system.url}/v1/chat/completions"
    body = {"model": "other", "messages": HELLO}
    return staying(
        account,
        upstream,
        lambda sent: httpx2.post(url, json=body, headers={**sent, "x-api-key": account.key}, timeout=60),
    )


def test_a_full_house_is_asked_three_times_a_second_apart(clients: Clients, shared_upstream: Upstream) -> None:
    def ask(account: Account) -> Said:
        with full_house(clients, account, shared_upstream):
            return clients.ask(account, {})

    outcomes = clients.all_do("crowded", ask)

    assert briefs(outcomes) == {
        **dict.fromkeys(PATIENT, ("RateLimitError", [429, 429, 429])),
        "ai-sdk": ("RetryError", [429, 429, 429]),
        "google-genai": ("ClientError", [429]),
    }
    for client in PATIENT:
        assert all(0.98 < wait_s < 10 for wait_s in outcomes[client].waits_s)  # The ends are read a moment late.


def test_a_place_that_becomes_free_is_taken_by_the_next_try(clients: Clients, shared_upstream: Upstream) -> None:
    def ask(account: Account) -> Said:
        with full_house(clients, account, shared_upstream) as leave, ThreadPoolExecutor(1) as pool:
            asked = pool.submit(clients.ask, account, {})
            until(lambda: clients.seen(account), what="the refusal")
            leave.set()
            return asked.result()

    outcomes = clients.all_do("crowded", ask)

    for client in PATIENT:
        text, statuses = outcomes[client].brief
        assert (text, statuses[-1]) == ("Hello.", 200)
        assert set(statuses[:-1]) == {429}


# ── what waiting does not help, or not soon ──────────────────────────────────────────────────────────────────────────

#: Errors of a 429 that is not to be repeated. The AI SDK does not read `x-should-retry`: it asks three times, 2 s and
#: 4 s apart.
FINAL = {
    **dict.fromkeys(("openai", "openai-async", "anthropic", "openai-node"), ("RateLimitError", [429])),
    "ai-sdk": ("RetryError", [429, 429, 429]),
    "google-genai": ("ClientError", [429]),
}


def after_one_answer(expected: dict[str, tuple[str, list[int]]]) -> dict[str, tuple[str, list[int]]]:
    return {client: (error, [200, *statuses]) for client, (error, statuses) in expected.items()}


def test_a_long_limit_is_not_waited_out(clients: Clients) -> None:
    outcomes = clients.all_ask("hourly", {}, {})

    assert briefs(outcomes) == after_one_answer(FINAL)
    for outcome in outcomes.values():
        assert 3500 < int(outcome.said["headers"]["retry-after"]) <= 3600
        assert "requests-per-hour (1 requests/hour)" in outcome.said["message"]
    assert [int(wait_s) for wait_s in outcomes["ai-sdk"].waits_s[1:]] == [2, 4]


def test_a_call_larger_than_its_limit_is_not_repeated_forever(clients: Clients) -> None:
    outcomes = clients.all_ask("narrow", {})

    assert briefs(outcomes) == FINAL
    for outcome in outcomes.values():
        assert "retry-after" not in outcome.said["headers"]
        assert "larger than the limit" in outcome.said["message"]


@pytest.mark.parametrize("tier", ["payg", "daily"])
def test_an_exhausted_quota_is_not_repeated_whether_or_not_it_resets(tier: str, clients: Clients) -> None:
    resets = tier == "daily"
    outcomes = clients.all_ask(tier, *[{}] * (2 if resets else 1))

    assert briefs(outcomes) == (after_one_answer(FINAL) if resets else FINAL)
    for outcome in outcomes.values():
        assert outcome.calls[-1].code == "insufficient_quota"
        assert ("retry-after" in outcome.said["headers"]) == resets
    for client in ("openai", "openai-async", "openai-node", "ai-sdk"):
        assert outcomes[client].said.get("code", "insufficient_quota") == "insufficient_quota"


@pytest.fixture
def payment_required(system: GatewaySystem) -> Iterator[None]:
    before = system.config.read_text()
    reload(system, before.replace("[gateway]", "[gateway]\nexhausted_status = 402"))
    yield
    reload(system, before)


@pytest.mark.usefixtures("payment_required")
def test_a_quota_that_is_refused_as_payment_required_is_repeated_by_nobody(clients: Clients) -> None:
    outcomes = clients.all_ask("payg", {})

    assert briefs(outcomes) == {
        **dict.fromkeys(("openai", "openai-async"), ("APIStatusError", [402])),
        "anthropic": ("PaymentRequiredError", [402]),
        "openai-node": ("APIError", [402]),
        "ai-sdk": ("APICallError", [402]),
        "google-genai": ("ClientError", [402]),
    }


def test_a_wrong_key_is_each_clients_own_error(clients: Clients) -> None:
    wrong = "qg_not-a-key"
    outcomes = clients.all_do("payg", lambda account: clients.ask(account._replace(key=wrong), {}))

    assert {client: (outcome.said["error"], outcome.said["status"]) for client, outcome in outcomes.items()} == {
        **dict.fromkeys(("openai", "openai-async", "anthropic", "openai-node"), ("AuthenticationError", 401)),
        "ai-sdk": ("APICallError", 401),
        "google-genai": ("ClientError", 401),
    }


# ── headers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_client_can_read_how_its_limits_stand(clients: Clients) -> None:
    outcomes = clients.all_ask("ample", {})

    for client, outcome in outcomes.items():
        headers = outcome.said["headers"]
        assert headers["ratelimit-policy"] == (
            '"requests-per-hour";q=9;w=3600, "tokens-per-hour";q=9000;w=3600;qu="tokens"'
        )
        assert headers["ratelimit"].startswith('"requests-per-hour";r=8;t=400, "tokens-per-hour";r=')
        assert headers["x-quota-remaining"] == "99"
        if client == "anthropic":
            assert headers["anthropic-ratelimit-requests-remaining"] == "8"
            assert 8900 < int(headers["anthropic-ratelimit-tokens-remaining"]) < 9000
        else:
            assert headers["x-ratelimit-remaining-requests"] == "8"
            assert headers["x-ratelimit-reset-requests"] == "6m40s"
            assert 8900 < int(headers["x-ratelimit-remaining-tokens"]) < 9000


# ── Idempotency-Key ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeated_idempotency_key_costs_nothing_and_one_that_was_refused_stays_usable(clients: Clients) -> None:
    first, second = {"Idempotency-Key": "first"}, {"Idempotency-Key": "second"}
    outcomes = clients.all_ask("brisk", first, first, second)

    assert briefs(outcomes) == {
        **dict.fromkeys(PATIENT, ("Hello.", [200, 200, 429, 200])),
        "google-genai": ("ClientError", [200, 200, 429]),
    }
    for client, outcome in outcomes.items():
        assert outcome.said["headers"]["x-quota-remaining"] == ("98" if client in PATIENT else "99")


def test_two_calls_at_once_with_one_idempotency_key_are_one_call(clients: Clients, shared_upstream: Upstream) -> None:
    key = {"Idempotency-Key": "only"}

    def ask(account: Account) -> Said:
        first = staying(account, shared_upstream, lambda sent: clients.ask(account, {**sent, **key}))
        with first as leave, ThreadPoolExecutor(1) as pool:
            second = pool.submit(clients.ask, account, key)
            until(lambda: clients.seen(account), what="the refusal")
            leave.set()
            return second.result()

    outcomes = clients.all_do("ample", ask)

    for client, outcome in outcomes.items():
        text, statuses = outcome.brief
        assert statuses[0] == 409
        if client in PATIENT:
            assert (text, statuses[-2:], set(statuses[:-2])) == ("Hello.", [200, 200], {409})
            assert outcome.said["headers"]["idempotent-replayed"] == "true"
            assert outcome.said["headers"]["x-quota-remaining"] == "99"
        else:
            assert (text, statuses) == ("ClientError", [409, 200])
