"""What every governed answer says of its quota: to people's tools, to proxies, and to each SDK in its own words.

`RateLimit-Policy` and `RateLimit` are structured fields (RFC 9651) as draft-ietf-httpapi-ratelimit-headers has them: an
item a policy, and one for the balance. OpenAI's and Anthropic's headers speak of one policy a measure, so they speak of
the tightest. FACTS section 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from gateway.domain.policy import Applied, Policy, PolicyState
from gateway.domain.tier import Tier

Headers = list[tuple[bytes, bytes]]

#: Quota units, for what is not counted in requests.
_UNITS = {
    "tokens": b';qu="tokens"',
    "input": b';qu="input-tokens"',
    "output": b';qu="output-tokens"',
    "cost": b';qu="cost"',
    "concurrent": b';qu="concurrent-requests"',
}


def quota_headers(
    tier: Tier,
    left: int,
    resets_at_ms: int | None,
    now_ms: int,
    dialect: str,
    applied: Applied,
    flat: Sequence[int],
) -> Headers:
    """`left`: the balance after the call; `resets_at_ms`: when it is filled up next, None where that is not known;
    `flat`: how its policies stand, as `Reserved.states`."""
    headers: Headers = [(b"x-quota-remaining", b"%d" % left)]
    names: list[bytes] = []
    states: list[bytes] = []
    near: list[bytes] = []
    allowance = sum(allowance.amount for allowance in tier.allowances)
    if allowance:
        names.append(b'"balance";q=%d' % allowance)
        states.append(b'"balance";r=%d' % left)
        if resets_at_ms is not None:
            headers.append((b"x-quota-reset", _instant(resets_at_ms // 1000)))
            states[0] += b";t=%d" % max(0, -(-(resets_at_ms - now_ms) // 1000))
    if flat:
        pairs = [pair for pair in applied.with_states(flat) if pair[0].mode == "enforce"]
        for policy, state in pairs:
            names.append(_policy_item(policy, state.room))
            states.append(_state_item(policy, state))
            if (used := share_used(policy.warn_at, state.room - state.remaining, state.room)) is not None:
                near.append(b'near;policy="%b";used=%d' % (policy.name.encode(), used))
        if dialect == "anthropic-messages":
            headers += _anthropic(pairs, now_ms)
        else:
            headers += _openai(pairs)
    if names:
        headers.append((b"ratelimit-policy", b", ".join(names)))
        headers.append((b"ratelimit", b", ".join(states)))
    if tier.warn_below is not None and left <= tier.warn_below:
        near.insert(0, b"low")
    elif (used := share_used(tier.warn_at, allowance - left, allowance)) is not None:
        near.insert(0, b'near;policy="balance";used=%d' % used)
    if near:
        headers.append((b"x-quota-warning", b", ".join(near)))
    return headers


def _policy_item(policy: Policy, room: int) -> bytes:
    rate = policy.rate
    # An override changes the room, and the quota with it.
    quota = rate.limit if room == rate.room else max(1, rate.limit * room // rate.room)
    window = b";w=%d" % (rate.period_ms // 1000) if rate.period_ms else b""
    return b'"%b";q=%d%b%b' % (policy.name.encode(), quota, window, _UNITS.get(rate.measure, b""))


def _state_item(policy: Policy, state: PolicyState) -> bytes:
    reset = b";t=%d" % -(-state.reset_ms // 1000) if policy.rate.period_ms else b""
    return b'"%b";r=%d%b' % (policy.name.encode(), state.remaining, reset)


def share_used(levels: Sequence[int], used: int, room: int) -> int | None:
    """The share used in percent, when it has passed the first of the levels (thousandths)."""
    if not levels or room <= 0 or used * 1000 < levels[0] * room:
        return None
    return used * 100 // room


_Pair = tuple[Policy, PolicyState]


def _tightest(pairs: Sequence[_Pair], measure: str) -> _Pair | None:
    """Of the policies of a measure the one with the smallest share left."""
    of_measure = [pair for pair in pairs if pair[0].rate.measure == measure]
    return min(of_measure, key=lambda pair: pair[1].remaining / pair[1].room, default=None)


def _openai(pairs: Sequence[_Pair]) -> Headers:
    headers: Headers = []
    for measure in ("requests", "tokens"):
        if (found := _tightest(pairs, measure)) is not None:
            state = found[1]
            word = measure.encode()
            headers.append((b"x-ratelimit-limit-" + word, b"%d" % state.room))
            headers.append((b"x-ratelimit-remaining-" + word, b"%d" % state.remaining))
            headers.append((b"x-ratelimit-reset-" + word, _duration(state.reset_ms)))
    return headers


def _anthropic(pairs: Sequence[_Pair], now_ms: int) -> Headers:
    headers: Headers = []
    for measure, word in (
        ("requests", b"requests"),
        ("tokens", b"tokens"),
        ("input", b"input-tokens"),
        ("output", b"output-tokens"),
    ):
        if (found := _tightest(pairs, measure)) is not None:
            state = found[1]
            name = b"anthropic-ratelimit-" + word
            headers.append((name + b"-limit", b"%d" % state.room))
            headers.append((name + b"-remaining", b"%d" % state.remaining))
            headers.append((name + b"-reset", _instant(math.ceil((now_ms + state.reset_ms) / 1000))))
    return headers


def _duration(ms: int) -> bytes:
    """As OpenAI writes it: 120ms, 1s, 6m0s, 1h0m0s."""
    if ms < 1000:
        return b"%dms" % ms
    seconds = -(-ms // 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return b"%dh%dm%ds" % (hours, minutes, seconds)
    return b"%dm%ds" % (minutes, seconds) if minutes else b"%ds" % seconds


@lru_cache(maxsize=4096)
def _instant(at_s: int) -> bytes:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
