"""Guesses at codes: an account that fails ten times within an hour is heard no more until that hour is over.

Redis counts them in `qg:{p}:tries:ACCOUNT`, a number that expires. A try counts before it is looked at, so that many at
once are no way around it, and is taken off again when it was none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import redis

from gateway.accounts.system import System
from gateway.domain.errors import NotFound
from gateway.rewards.recipient import RewardRefused

MOST = 10
_WITHIN_S = 3600


@contextlib.contextmanager
def counted(system: System, account: str) -> Iterator[None]:
    """One try. What ends in NotFound was a guess; anything else was none.

    Raises RewardRefused (`too_many_tries`), redis.RedisError.
    """
    count, left_ms = _add(system, account, 1)
    if count > MOST:
        message = f"account {account} has tried {MOST} codes that there are not; wait before the next one"
        raise RewardRefused("too_many_tries", message, left_ms)
    is_guess = False
    try:
        yield
    except NotFound:
        is_guess = True
        raise
    finally:
        if not is_guess:
            with contextlib.suppress(redis.RedisError):  # What was redeemed is.
                _add(system, account, -1)


def _add(system: System, account: str, number: int) -> tuple[int, int]:
    """The tries of this hour then, and how many milliseconds of it are left."""
    key = system.keys.of_account(account, "tries")
    asked = system.redis.pipeline(transaction=True)
    asked.set(key, 0, ex=_WITHIN_S, nx=True)
    asked.incrby(key, number)
    asked.pttl(key)
    _, count, left_ms = asked.execute()
    return int(count), int(left_ms)
