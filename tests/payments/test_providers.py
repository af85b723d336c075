"""Which provider is set up: by the config, and for the sandbox by the environment."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from gateway.config import Config, parse
from gateway.config.payments import Payments, Stripe, Xendit
from gateway.domain.errors import Conflicting
from gateway.payments import providers
from gateway.payments.provider import Provider, ProviderUnavailable
from gateway.payments.providers import PROVIDERS, SANDBOX, Providers
from tests.payments.wire import Wire, an_order
from tests.support.config import config_text

XENDIT = Xendit("xnd_live", "token", "https://api.xendit.test", ("qris", "va", "link"), ("BCA", "BNI"), "")
STRIPE = Stripe("sk_live", "whsec", "https://api.stripe.test", "https://shop.test")
RUNNING = dict(zip(SANDBOX, ("http://127.0.0.1:9009/", "xnd_sandbox", "sandbox-token"), strict=True))


def test_the_provider_of_new_orders_is_the_one_that_the_config_names() -> None:
    both = Payments("stripe", xendit=XENDIT, stripe=STRIPE)

    assert Providers(both).for_new_orders().name == "stripe"
    assert Providers(replace(both, provider="xendit")).for_new_orders().name == "xendit"
    assert Providers(both).named("xendit").name == "xendit"
    assert set(PROVIDERS) == {"xendit", "stripe"}


@pytest.mark.parametrize(
    "payments",
    [Payments(), Payments("xendit"), Payments("stripe"), Payments("xendit", xendit=replace(XENDIT, secret_key=""))],
)
def test_without_a_provider_nothing_is_sold(payments: Payments) -> None:
    shop = Providers(payments, {})

    assert not shop.are_set_up
    assert shop.methods() == {}
    with pytest.raises(Conflicting, match="payments are not set up"):
        shop.for_new_orders()


@pytest.mark.parametrize("name", ["stripe", "sandbox", ""])
def test_a_provider_that_is_not_set_up_any_more_is_unavailable(name: str) -> None:
    with pytest.raises(ProviderUnavailable, match=rf"the provider '{name}' is not set up: see \[payments.{name}\]"):
        Providers(Payments("xendit", xendit=XENDIT)).named(name)


def test_methods_are_those_of_the_provider_of_new_orders() -> None:
    both = Payments("xendit", xendit=XENDIT, stripe=STRIPE)

    assert Providers(both).methods() == {"qris": (), "va": ("BCA", "BNI"), "link": ()}
    assert Providers(replace(both, xendit=replace(XENDIT, methods=("qris",)))).methods() == {"qris": ()}
    assert Providers(replace(both, provider="stripe")).methods() == {"link": ()}


def test_xendit_without_a_key_is_the_sandbox_that_runs() -> None:
    wire = Wire({"POST /v3/payment_requests": (401, {"error_code": "X"})})
    keyless = Payments("xendit", xendit=replace(XENDIT, secret_key="", callback_token=""))
    shop = Providers(keyless, RUNNING, transport=wire.transport)

    with pytest.raises(ProviderUnavailable):
        shop.for_new_orders().create(an_order())

    assert shop.is_sandbox
    assert str(wire.asked[0].url) == "http://127.0.0.1:9009/v3/payment_requests"
    assert not Providers(Payments("xendit", xendit=XENDIT), RUNNING).is_sandbox


@pytest.mark.parametrize("missing", SANDBOX)
def test_half_a_sandbox_is_none(missing: str) -> None:
    keyless = Payments("xendit", xendit=replace(XENDIT, secret_key=""))

    assert not Providers(keyless, RUNNING | {missing: ""}).are_set_up


def test_a_provider_is_made_once_and_made_again_after_it_was_closed() -> None:
    shop = Providers(Payments("xendit", xendit=XENDIT))

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: shop.for_new_orders(), range(40)))
    shop.close()

    assert len({id(each) for each in made}) == 1
    assert shop.for_new_orders() is not made[0]
    shop.close()


@pytest.fixture
def config() -> Config:
    text = config_text(more="[payments]\nprovider = 'xendit'\n[payments.xendit]\n")
    return parse(text, "config.toml", {})


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    providers._of.cache_clear()
    yield
    providers._of.cache_clear()


def test_a_process_has_the_same_providers_for_as_long_as_nothing_changes(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SANDBOX:
        monkeypatch.delenv(name, raising=False)
    before = providers.of(config)
    same = providers.of(replace(config, unit="other"))
    for name, value in RUNNING.items():
        monkeypatch.setenv(name, value)
    after = providers.of(config)

    assert before is same
    assert not before.are_set_up
    assert after.is_sandbox
    assert providers.of(config) is after


def test_no_secret_is_in_what_providers_look_like() -> None:
    shop = Providers(Payments("xendit", xendit=XENDIT, stripe=STRIPE), RUNNING)
    looks: list[Any] = [shop, shop.named("xendit"), shop.named("stripe"), XENDIT, STRIPE]

    text = "".join(map(repr, looks))

    assert not [secret for secret in ("xnd_live", "token'", "sk_live", "whsec") if secret in text]
    shop.close()


def test_each_provider_is_one() -> None:
    shop = Providers(Payments("xendit", xendit=XENDIT, stripe=STRIPE))
    both: list[Provider] = [shop.named(name) for name in PROVIDERS]

    assert [each.name for each in both] == list(PROVIDERS)
    shop.close()
