"""More or less of an account's limits, for a while."""

from __future__ import annotations

import re
import time
from fractions import Fraction

from gateway.accounts import epoch
from gateway.accounts.expiry import expiry_s
from gateway.accounts.system import System, look_up, never_opened
from gateway.domain.errors import RefusedInput
from gateway.domain.policy import MAX_OVERRIDE
from gateway.domain.reservation import Unknown
from gateway.store import calls

_FACTOR = re.compile(r"(\d{1,4})(?:/(\d{1,4})|\.(\d{1,2}))?x?")


def override(system: System, account_id: str, factor: str, until: str) -> int:
    """Multiplies an account's own rate and concurrency limits until then. Returns when that is, in ms since 1970.

    `factor`: "2x", "1.5" or "1/2"; "1" ends an override. `until`: "3d" or an instant, as in `expiry_s`.
    Raises RefusedInput for bad input, NotFound for an unknown account, StoreUnready when Redis must be restored first.
    """
    times = read_factor(factor)
    until_ms = expiry_s(until, int(time.time())) * 1000
    account_key = system.keys.account(look_up(account_id))
    outcome = system.runner.run(calls.override(account_key, times.numerator, times.denominator, until_ms))
    if isinstance(outcome, Unknown):
        epoch.check_known(system, account_id)
        raise never_opened(account_id)
    return outcome.until_ms


def read_factor(text: str) -> Fraction:
    found = _FACTOR.fullmatch(text)
    times = None
    if found is not None and found[2] is None:
        times = Fraction(f"{found[1]}.{found[3] or 0}")
    elif found is not None and int(found[2]):
        times = Fraction(int(found[1]), int(found[2]))
    if times is None or not Fraction(1, MAX_OVERRIDE) <= times <= MAX_OVERRIDE:
        raise RefusedInput(f'{text!r} is no factor: "2x", "1.5" or "1/2", from 1/{MAX_OVERRIDE} to {MAX_OVERRIDE}')
    if max(times.numerator, times.denominator) > MAX_OVERRIDE:
        raise RefusedInput(f"{text!r} cannot be counted exactly: take a rounder factor")
    return times
