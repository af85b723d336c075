"""Which providers there are, and which of them is set up.

A process asks for `of(config)` and gets the same each time, connections included. `[payments.xendit]` without a secret
key is the sandbox that `quotagate up` has started, and told this process of by the environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

from gateway.config import Config
from gateway.config.payments import Payments, Stripe, Xendit
from gateway.domain.errors import Conflicting, RefusedInput
from gateway.domain.order import LINK, VA
from gateway.payments.provider import Provider, ProviderUnavailable

if TYPE_CHECKING:
    import httpx2

XENDIT, STRIPE = "xendit", "stripe"


def _new_xendit(settings: Xendit, transport: httpx2.BaseTransport | None) -> Provider:
    from gateway.payments.xendit import Xendit as Made

    return Made(settings, transport=transport)


def _new_stripe(settings: Stripe, transport: httpx2.BaseTransport | None) -> Provider:
    from gateway.payments.stripe import Stripe as Made

    return Made(settings, transport=transport)


#: All of them, by the name that orders and paths have. Each is loaded when it is made: a gateway that sells nothing
#: needs no HTTP client.
PROVIDERS: Mapping[str, Callable[..., Provider]] = {XENDIT: _new_xendit, STRIPE: _new_stripe}

#: Where the sandbox is, and what it is told and tells apart by: its URL, its secret key, its webhooks' token.
SANDBOX = ("QUOTAGATE_SANDBOX_URL", "QUOTAGATE_SANDBOX_SECRET", "QUOTAGATE_SANDBOX_TOKEN")


class Providers:
    """The providers of one config, each made when it is first asked for. Used from any thread."""

    def __init__(
        self,
        payments: Payments,
        environ: Mapping[str, str] = os.environ,
        *,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """`transport`: of tests, what takes the place of the network."""
        self._payments = payments
        self._xendit, self.is_sandbox = _xendit(payments.xendit, environ)
        self._transport = transport
        self._made: dict[str, Provider] = {}
        self._lock = Lock()

    @property
    def are_set_up(self) -> bool:
        """Whether anything can be sold."""
        return self._settings(self._payments.provider) is not None

    def for_new_orders(self) -> Provider:
        """The provider that takes the money of new orders. Raises Conflicting when there is none."""
        if not self.are_set_up:
            raise Conflicting("payments are not set up")
        return self.named(self._payments.provider)

    def named(self, name: str) -> Provider:
        """The provider of an order or a webhook. Raises ProviderUnavailable when it is not set up, or no longer."""
        settings = self._settings(name)
        if settings is None:
            raise ProviderUnavailable(f"the provider {name!r} is not set up: see [payments.{name}] of the config file")
        with self._lock:
            if name not in self._made:
                self._made[name] = PROVIDERS[name](settings, self._transport)
            return self._made[name]

    def methods(self) -> Mapping[str, tuple[str, ...]]:
        """What new orders can be paid by: the channels of each method, none where there is nothing to choose. Empty
        when nothing can be sold."""
        if not self.are_set_up:
            return {}
        if self._payments.provider == STRIPE or self._xendit is None:
            return {LINK: ()}
        return {method: self._xendit.banks if method == VA else () for method in self._xendit.methods}

    def check(self, method: str, channel: str) -> None:
        """Raises RefusedInput for what no new order can be paid by, Conflicting when nothing can be sold."""
        methods = self.methods()
        if not methods:
            raise Conflicting("payments are not set up")
        if method not in methods:
            raise RefusedInput(f'method = "{method}": payments are made by {", ".join(methods)}')
        channels = methods[method]
        if channels and channel not in channels:
            raise RefusedInput(f'channel = "{channel}": {method} needs one of {", ".join(channels)}')
        if channel and not channels:
            raise RefusedInput(f'channel = "{channel}": {method} has no channels to choose from')

    def close(self) -> None:
        """Closes the connections of all; what asks later opens new ones."""
        with self._lock:
            made, self._made = self._made, {}
        for provider in made.values():
            provider.close()

    def _settings(self, name: str) -> object | None:
        return {XENDIT: self._xendit, STRIPE: self._payments.stripe}.get(name)


def of(config: Config, environ: Mapping[str, str] = os.environ) -> Providers:
    """The providers of a config, the same ones for as long as it and the sandbox are the same."""
    return _of(config.payments, tuple(environ.get(name, "") for name in SANDBOX))


@lru_cache(maxsize=8)
def _of(payments: Payments, sandbox: tuple[str, ...]) -> Providers:
    return Providers(payments, dict(zip(SANDBOX, sandbox, strict=True)))


def _xendit(settings: Xendit | None, environ: Mapping[str, str]) -> tuple[Xendit | None, bool]:
    """Xendit as it is reached, and whether that is the sandbox."""
    if settings is None or settings.secret_key:
        return settings, False
    url, secret, token = (environ.get(name, "") for name in SANDBOX)
    if not (url and secret and token):
        return None, False
    return replace(settings, base_url=url.rstrip("/"), secret_key=secret, callback_token=token), True
