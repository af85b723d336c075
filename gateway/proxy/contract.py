"""What every governed answer says of its quota: to people's tools, to proxies, and to each SDK in its own words.

`RateLimit-Policy` and `RateLimit` are structured fields (RFC 9651) as draft-ietf-httpapi-ratelimit-headers has them: an
item a policy, and one for the balance. OpenAI's and Anthropic's headers speak of one policy a measure, so they speak of
the tightest. FACTS section 2.

What is alike for all calls that meet the same policies is made once; a call fills in its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from gateway.domain.policy import Applied, Policy
from gateway.domain.reservation import Denied
from gateway.domain.tier import Tier
from gateway.proxy.gate import Decision

Header = tuple[bytes, bytes]
Headers = list[Header]

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
    allowance = tier.allowance
    told = _told(allowance, resets_at_ms is not None, applied, tuple(flat[2::4]), dialect == "anthropic-messages")
    if told.policies:
        numbers = []
        if allowance:
            numbers.append(left)
            if resets_at_ms is not None:
                headers.append((b"x-quota-reset", _instant(resets_at_ms // 1000)))
                numbers.append(max(0, -(-(resets_at_ms - now_ms) // 1000)))
        for at, resets in told.places:
            numbers.append(flat[at])
            if resets:
                numbers.append(-(-flat[at + 1] // 1000))
        headers.append((b"ratelimit-policy", told.policies))
        headers.append((b"ratelimit", told.states % tuple(numbers)))
        for measure in told.measures:
            headers += measure.headers(flat, now_ms)
    if (warning := _warning(tier, left, told, flat)) is not None:
        headers.append((b"x-quota-warning", warning))
    return headers


def denial_headers(decision: Decision, verdict: Denied, now_ms: int, dialect: str) -> Headers:
    """The same for a denial. `RateLimit` then tells of what denied the call: how much is left of it, and the time of
    `Retry-After`, which may not be earlier than any time told there."""
    tier, applied = decision.tier, decision.applied
    headers = quota_headers(tier, verdict.left, None, now_ms, dialect, applied, verdict.states)
    wait = b"" if verdict.retry_after_ms is None else b";t=%d" % -(-verdict.retry_after_ms // 1000)
    remaining = {policy.name: state.remaining for policy, state in applied.with_states(verdict.states)}
    items = []
    for name in verdict.violated:
        if name in remaining:
            items.append(b'"%b";r=%d%b' % (name.encode(), remaining[name], wait))
        elif tier.allowance:
            items.append(b'"balance";r=%d%b' % (verdict.left, wait))
    told = [header for header in headers if header[0] != b"ratelimit"]
    return [*told, (b"ratelimit", b", ".join(items))] if items else told


def share_used(levels: Sequence[int], used: int, room: int) -> int | None:
    """The share used in percent, when it has passed the first of the levels (thousandths)."""
    if not levels or room <= 0 or used * 1000 < levels[0] * room:
        return None
    return used * 100 // room


def _warning(tier: Tier, left: int, told: _Told, flat: Sequence[int]) -> bytes | None:
    near = []
    if tier.warn_below is not None and left <= tier.warn_below:
        near.append(b"low")
    elif tier.warn_at and (used := share_used(tier.warn_at, tier.allowance - left, tier.allowance)) is not None:
        near.append(b'near;policy="balance";used=%d' % used)
    for at, policy in told.warned:
        room = flat[at + 2]
        if (used := share_used(policy.warn_at, room - flat[at], room)) is not None:
            near.append(b'near;policy="%b";used=%d' % (policy.name.encode(), used))
    return b", ".join(near) if near else None


# ── what is alike for many calls ─────────────────────────────────────────────────────────────────────────────────────


class _Told:
    """What calls are told that meet the same policies, with the same room in each."""

    def __init__(
        self, allowance: int, has_reset: bool, applied: Applied, rooms: tuple[int, ...], is_anthropic: bool
    ) -> None:
        met = [
            (number * 4, policy, room)
            for number, (policy, room) in enumerate(zip(applied.checked, rooms, strict=False))
            if room >= 0 and policy.mode == "enforce"
        ]
        policies = [b'"balance";q=%d' % allowance] if allowance else []
        states = [b'"balance";r=%d' + (b";t=%d" if has_reset else b"")] if allowance else []
        policies += [_policy_item(policy, room) for _, policy, room in met]
        states += [_state_item(policy) for _, policy, _ in met]
        #: The value of `RateLimit-Policy`, and the format of that of `RateLimit`.
        self.policies = b", ".join(policies)
        self.states = b", ".join(states)
        #: Where each policy's numbers begin in the reply, and whether it has a time to tell.
        self.places = [(at, policy.rate.period_ms > 0) for at, policy, _ in met]
        self.warned = [(at, policy) for at, policy, _ in met if policy.warn_at]
        self.measures = [
            _Measure(word, [at for at, policy, _ in met if policy.rate.measure == measure], is_anthropic)
            for measure, word in (_ANTHROPIC if is_anthropic else _OPENAI)
            if any(policy.rate.measure == measure for _, policy, _ in met)
        ]


_told = lru_cache(maxsize=4096)(_Told)

#: What the SDKs have headers for.
_OPENAI = (("requests", b"requests"), ("tokens", b"tokens"))
_ANTHROPIC = (*_OPENAI, ("input", b"input-tokens"), ("output", b"output-tokens"))


class _Measure:
    """One measure in an SDK's own headers."""

    def __init__(self, word: bytes, places: list[int], is_anthropic: bool) -> None:
        name = b"anthropic-ratelimit-" + word + b"-%b" if is_anthropic else b"x-ratelimit-%b-" + word
        self._limit, self._remaining, self._reset = (name % what for what in (b"limit", b"remaining", b"reset"))
        self._places = places
        self._is_anthropic = is_anthropic

    def headers(self, flat: Sequence[int], now_ms: int) -> Headers:
        """Of its policies the one with the smallest share left speaks."""
        at = self._places[0]
        for other in self._places[1:]:
            if flat[other] * flat[at + 2] < flat[at] * flat[other + 2]:
                at = other
        remaining, reset_ms, room = flat[at : at + 3]
        reset = _instant(-(-(now_ms + reset_ms) // 1000)) if self._is_anthropic else _duration(reset_ms)
        return [(self._limit, b"%d" % room), (self._remaining, b"%d" % remaining), (self._reset, reset)]


def _policy_item(policy: Policy, room: int) -> bytes:
    rate = policy.rate
    # An override changes the room, and the quota with it.
    quota = rate.limit if room == rate.room else max(1, rate.limit * room // rate.room)
    window = b";w=%d" % (rate.period_ms // 1000) if rate.period_ms else b""
    return b'"%b";q=%d%b%b' % (policy.name.encode(), quota, window, _UNITS.get(rate.measure, b""))


def _state_item(policy: Policy) -> bytes:
    return b'"%b"' % policy.name.encode() + b";r=%d" + (b";t=%d" if policy.rate.period_ms else b"")


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
