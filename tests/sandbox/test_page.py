"""The page on which people pay."""

from __future__ import annotations

import re

import httpx2
import pytest

from tests.sandbox.asking import link, made, va
from tests.support.sandbox import Clock, Sandbox


def browse(sandbox: Sandbox, path: str, method: str = "GET") -> httpx2.Response:
    """As a browser does: without a key."""
    with httpx2.Client(transport=sandbox.transport, base_url=sandbox.bank.address) as browser:
        return browser.request(method, path)


def test_it_shows_what_is_asked_and_pays_it(sandbox: Sandbox) -> None:
    session = sandbox.call("POST", "/sessions", link())

    shown = browse(sandbox, session["payment_link_url"])
    (action, *_) = re.findall(r'action="([^"]+)"', shown.text)
    paid = browse(sandbox, action, "POST")

    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert "Rp 10.000" in shown.text
    assert "Waits for the payment" in shown.text
    assert "Paid. Thank you!" in paid.text
    assert '<a id="back" href="https://shop.example/thanks?a=1&amp;b=2">' in paid.text
    assert "<form" not in paid.text
    assert len(sandbox.paid("ord_1")) == 1


def test_it_shows_the_number_to_pay_to(sandbox: Sandbox) -> None:
    request = sandbox.call("POST", "/v3/payment_requests", va("BNI"))

    shown = browse(sandbox, f"/pay/{request['payment_request_id']}").text

    assert "Virtual account at BNI" in shown
    assert request["actions"][0]["value"] in shown


def test_paying_twice_says_so_and_pays_once(sandbox: Sandbox) -> None:
    id = made(sandbox)
    browse(sandbox, f"/pay/{id}", "POST")

    again = browse(sandbox, f"/pay/{id}", "POST")

    assert (again.status_code, len(sandbox.paid("ord_1"))) == (400, 1)
    assert "cannot be paid" in again.text


def test_it_can_fail(sandbox: Sandbox) -> None:
    id = made(sandbox)

    assert "The payment failed" in browse(sandbox, f"/pay/{id}/fail", "POST").text
    assert sandbox.paid("ord_1") == []


def test_what_has_expired_has_no_button(sandbox: Sandbox, clock: Clock) -> None:
    id = made(sandbox)
    clock.forward(hours=48)

    shown = browse(sandbox, f"/pay/{id}").text

    assert "Expired" in shown
    assert "<form" not in shown


def test_all_that_waits_is_listed(sandbox: Sandbox) -> None:
    assert "Nothing to pay" in browse(sandbox, "/pay").text
    first, second = made(sandbox), made(sandbox, reference_id="ord_2")

    assert re.findall(r'href="/pay/([^"]+)"', browse(sandbox, "/pay").text) == [second, first]


@pytest.mark.parametrize("path", ["/pay/pr-1", "/pay/ps-1/fail", "/pay/%3Cscript%3E"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_unknown_has_a_page_too(sandbox: Sandbox, path: str, method: str) -> None:
    answer = browse(sandbox, path, method)

    assert (answer.status_code, "Nothing to pay" in answer.text) == (404, True)


def test_what_was_asked_for_is_text_and_no_markup(sandbox: Sandbox) -> None:
    evil = "<script>alert(1)</script>"
    session = sandbox.call(
        "POST", "/sessions", link(reference_id=evil, description=evil, success_return_url="javascript:alert(1)")
    )
    sandbox.pay(evil)

    for path in (session["payment_link_url"], "/pay"):
        shown = browse(sandbox, path).text
        assert "<script" not in shown
        assert "javascript:" not in shown
