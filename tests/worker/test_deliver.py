"""Deliveries: signed, repeated with patience, each by one worker, and given up in the end."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.accounts import notices as acts
from gateway.accounts.profile import write_emails
from gateway.accounts.system import System
from gateway.config.notifications import Email, Notifications, Webhook
from gateway.domain.notice import KINDS, Notice
from gateway.ledger import bulk, notices
from gateway.ledger.notices import BACKOFF_S, LEASE_S, Delivery
from tests.support.servers import free_port
from tests.support.upstream import CLOSE, RESET, Upstream, Wait, json_answer
from worker import deliver
from worker.deliver import deliver_due
from worker.messages import email

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
SECRET = b"a secret of the backend"


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hooked(system: System, upstream: Upstream) -> System:
    """A system that tells by webhook."""
    upstream.script = lambda request: json_answer({})
    webhook = Webhook(f"{upstream.url}/hook?token=hunter2", SECRET)
    return replace(system, config=replace(system.config, notifications=Notifications(KINDS, webhook=webhook)))


def tell(system: System, *accounts: str, channels: Sequence[str] = ("webhook",), **change: Any) -> None:
    facts: dict[str, int | str] = {"left": 0, "tier": "free"}
    found = [
        Notice(f"exhausted {account} day:2026-11-20", "exhausted", account, facts, **change) for account in accounts
    ]
    assert notices.insert(system.ledger, found, channels, NOW) == len(accounts)


def status(system: System, account: str = "ada") -> acts.Delivery:
    (notice,) = acts.listed(system, account)
    (delivery,) = notice.deliveries
    return delivery


# ── webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_webhook_is_signed_as_standard_webhooks_has_it(hooked: System, upstream: Upstream, clock: Clock) -> None:
    tell(hooked, "josé")

    assert deliver_due(hooked, clock) == 1

    (request,) = upstream.requests
    assert (request.method, request.target, request.header("content-type")) == (
        "POST", "/hook?token=hunter2", "application/json",
    )  # fmt: skip
    id, timestamp = request.header("webhook-id"), request.header("webhook-timestamp")
    assert id is not None
    assert id.startswith("ntc_")
    assert timestamp == str(int(NOW.timestamp()))
    signed = f"{id}.{timestamp}.".encode() + request.body
    expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert request.header("webhook-signature") == f"v1,{expected}"
    assert request.json() == {
        "type": "quota.exhausted",
        "timestamp": "2026-11-20T10:00:00Z",
        "data": {"account": "josé", "left": 0, "tier": "free"},
    }
    found = status(hooked, "josé")
    assert (found.status, found.tries, found.sent_at, found.last_error) == ("sent", 1, NOW, "")


def test_what_has_arrived_is_not_sent_again(hooked: System, upstream: Upstream, clock: Clock) -> None:
    tell(hooked, "ada")
    deliver_due(hooked, clock)

    clock.wait(10 * 86_400)

    assert deliver_due(hooked, clock) == 0
    assert len(upstream.requests) == 1


def test_a_receiver_that_is_down_for_a_while_gets_it_in_the_end_under_the_same_id(
    hooked: System, upstream: Upstream, clock: Clock
) -> None:
    tell(hooked, "ada")
    answers = iter([json_answer({}, 500), [RESET], [CLOSE], json_answer({}, 302, "Location: /elsewhere\r\n")])
    upstream.script = lambda request: next(answers, json_answer({}, 204))
    errors = []
    for wait_s in BACKOFF_S[:4]:
        assert deliver_due(hooked, clock) == 1
        errors.append(status(hooked).last_error)
        clock.wait(wait_s - 1)
        assert deliver_due(hooked, clock) == 0, "it was tried too early"
        clock.wait(1)

    assert deliver_due(hooked, clock) == 1

    assert errors[0] == "the receiver answered 500"
    assert errors[3] == "the receiver answered 302"
    assert all("hunter2" not in error for error in errors)
    assert (status(hooked).status, status(hooked).tries) == ("sent", 5)
    assert {request.target for request in upstream.requests} == {"/hook?token=hunter2"}
    assert len({request.header("webhook-id") for request in upstream.requests}) == 1
    assert len({request.header("webhook-timestamp") for request in upstream.requests}) == 5


def test_after_the_last_try_it_is_given_up_and_said(
    hooked: System, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    webhook = Webhook(f"http://127.0.0.1:{free_port()}/?token=hunter2", SECRET)
    down = replace(hooked, config=replace(hooked.config, notifications=Notifications(KINDS, webhook=webhook)))
    tell(down, "ada")
    with caplog.at_level(logging.INFO):
        for wait_s in (*BACKOFF_S, 10 * 86_400):
            assert deliver_due(down, clock) == 1
            clock.wait(wait_s)

    found = status(down)
    assert (found.status, found.tries, found.last_error) == ("failed", len(BACKOFF_S) + 1, "ConnectError")
    assert deliver_due(down, clock) == 0
    assert "was given up after 9 tries: ConnectError" in caplog.text
    assert "hunter2" not in caplog.text
    assert [notice.account for notice in acts.listed(down, failed=True)] == ["ada"]


def test_what_is_not_due_yet_waits(hooked: System, clock: Clock) -> None:
    tell(hooked, "ada", due_ms=int((NOW + timedelta(hours=14)).timestamp() * 1000))

    assert deliver_due(hooked, clock) == 0
    clock.wait(14 * 3600)

    assert deliver_due(hooked, clock) == 1


def test_two_workers_at_once_send_each_once(hooked: System, upstream: Upstream, clock: Clock) -> None:
    accounts = [f"a{number:02d}" for number in range(40)]
    tell(hooked, *accounts)
    start = threading.Barrier(3)
    tried: list[int] = []

    def work() -> None:
        start.wait(20)
        tried.append(deliver_due(hooked, clock))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    assert sum(tried) == 40
    assert sorted(request.json()["data"]["account"] for request in upstream.requests) == accounts


def test_a_delivery_that_another_worker_is_at_is_left_alone_until_its_lease_ends(
    hooked: System, upstream: Upstream, clock: Clock
) -> None:
    tell(hooked, "ada")
    assert len(notices.claim(hooked.ledger, clock(), 10)) == 1  # And then that worker dies.

    clock.wait(LEASE_S - 1)
    assert deliver_due(hooked, clock) == 0
    clock.wait(1)

    assert deliver_due(hooked, clock) == 1
    assert (status(hooked).status, status(hooked).tries) == ("sent", 2)


def test_a_worker_that_was_slower_than_its_lease_does_not_undo_what_came_after(hooked: System, clock: Clock) -> None:
    tell(hooked, "ada")
    (slow,) = notices.claim(hooked.ledger, clock(), 10)
    clock.wait(LEASE_S)
    deliver_due(hooked, clock)

    notices.failed(hooked.ledger, slow, "TimeoutError", clock())

    assert status(hooked).status == "sent"


def test_a_receiver_that_does_not_answer_is_given_up_in_time(
    hooked: System, upstream: Upstream, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "TIMEOUT_S", 0.2)
    upstream.script = lambda request: [Wait()]
    tell(hooked, "ada", "bob")

    assert deliver_due(hooked, clock) == 2

    assert {status(hooked, account).last_error for account in ("ada", "bob")} == {"ReadTimeout"}


def test_a_way_that_is_no_longer_set_up_is_said(hooked: System, clock: Clock) -> None:
    tell(hooked, "ada")
    silent = replace(hooked, config=replace(hooked.config, notifications=Notifications(KINDS)))

    deliver_due(silent, clock)

    assert status(silent).last_error == "webhook is not set up in [notifications] any more"


# ── e-mail ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Mailbox:
    """What an SMTP server was given."""

    def __init__(self) -> None:
        self.letters: list[tuple[list[str], EmailMessage]] = []
        self.answer = "250 OK"
        self.logins: list[tuple[str, str]] = []

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            self.letters.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        return self.answer

    def authenticate(self, server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        is_right = data.password == b"hunter2"
        return AuthResult(success=is_right, handled=is_right)  # Of what is not handled the server says 535.


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def mailed(system: System, mailbox: Mailbox) -> Iterator[System]:
    """A system that tells by e-mail, through a real SMTP server."""
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    server.start()
    yield with_email(system, Email("127.0.0.1", server.port, "none", "", "", "Quota <quota@example.com>"))
    server.stop()


def with_email(system: System, email: Email) -> System:
    return replace(system, config=replace(system.config, notifications=Notifications(KINDS, email=email)))


def address(system: System, email: str, account: str = "ada") -> None:
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        write_emails(connection, {account: email})


def test_an_email_goes_to_the_accounts_address_in_plain_text(mailed: System, mailbox: Mailbox, clock: Clock) -> None:
    address(mailed, "ada@example.com")
    tell(mailed, "ada", channels=("email",))

    assert deliver_due(mailed, clock) == 1

    ((recipients, letter),) = mailbox.letters
    assert recipients == ["ada@example.com"]
    assert (letter["From"], letter["To"]) == ("Quota <quota@example.com>", "ada@example.com")
    assert letter["Subject"] == "Your balance is used up"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Message-ID"].endswith("@example.com>")
    assert letter.get_content_type() == "text/plain"
    assert "Account: ada" in letter.get_content()
    assert status(mailed).status == "sent"


@pytest.mark.parametrize(
    ("kind", "facts", "subject", "said"),
    [
        ("low_balance", {"left": 3}, "Your balance is low", "You have 3 token(s) left."),
        (
            "threshold", {"allowance": "day", "amount": 100, "used": 96, "percent": "95"},
            "You have used 95 % of this day's allowance", "You have used 96 token(s) of 100 token(s)",
        ),
        ("reset", {"allowance": "month", "amount": 100}, "Your month's allowance is back", "with 100 token(s)."),
        ("license_inactive", {"license": "lk_Ab"}, "License lk_Ab is inactive", "Nothing is left on license lk_Ab"),
    ],
)  # fmt: skip
def test_each_kind_reads_in_its_own_words(
    system: System, kind: str, facts: dict[str, Any], subject: str, said: str
) -> None:
    letter = email(
        Delivery("d", "email", 1, f"{kind} ada x", kind, "ada", NOW, facts, "ada@example.com"),
        "quota@example.com", system.config, NOW,
    )  # fmt: skip

    assert letter["Subject"] == subject
    assert said in letter.get_content()


@pytest.mark.parametrize("bad", ["=?us-ascii?q?eve=40x.y=2C?=bob@example.com", "=?utf-8?q??=@x.y"])
def test_an_address_in_disguise_goes_to_nobody_and_holds_up_nobody(
    mailed: System, mailbox: Mailbox, clock: Clock, bad: str
) -> None:
    address(mailed, bad, "bob")
    address(mailed, "ada@example.com")
    tell(mailed, "ada", "bob", channels=("email",))

    assert deliver_due(mailed, clock) == 2

    assert [recipients for recipients, _ in mailbox.letters] == [["ada@example.com"]]
    assert (status(mailed).status, status(mailed, "bob").status) == ("sent", "failed")


def test_a_server_that_refuses_is_asked_again(mailed: System, mailbox: Mailbox, clock: Clock) -> None:
    address(mailed, "ada@example.com")
    tell(mailed, "ada", channels=("email",))
    mailbox.answer = "451 try later, hunter2"

    deliver_due(mailed, clock)
    assert status(mailed).last_error == "SMTPDataError 451"
    mailbox.answer = "250 OK"
    clock.wait(BACKOFF_S[0])
    deliver_due(mailed, clock)

    assert (status(mailed).status, len(mailbox.letters)) == ("sent", 1)


def test_an_address_that_was_taken_away_gets_nothing(mailed: System, mailbox: Mailbox, clock: Clock) -> None:
    address(mailed, "ada@example.com")
    tell(mailed, "ada", channels=("email",))
    address(mailed, "")

    deliver_due(mailed, clock)

    assert (status(mailed).status, mailbox.letters) == ("failed", [])


def test_a_server_that_is_away_is_said_by_what_happened(system: System, clock: Clock) -> None:
    away = with_email(system, Email("127.0.0.1", free_port(), "none", "", "", "quota@example.com"))
    address(away, "ada@example.com")
    tell(away, "ada", channels=("email",))

    deliver_due(away, clock)

    assert (status(away).status, status(away).last_error) == ("waiting", "ConnectionRefusedError")


def test_a_password_never_goes_to_a_server_without_starttls(mailed: System, mailbox: Mailbox, clock: Clock) -> None:
    told = mailed.config.notifications.email
    assert told is not None
    strict = with_email(mailed, replace(told, security="starttls", user="quota", password="hunter2"))
    address(strict, "ada@example.com")
    tell(strict, "ada", channels=("email",))

    deliver_due(strict, clock)

    assert status(strict).last_error == "SMTPNotSupportedError"
    assert (mailbox.letters, mailbox.logins) == ([], [])


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Of a server called localhost, trusted for the moment."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "localhost.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return context


@pytest.mark.parametrize("password", ["hunter2", "wrong"])
def test_a_server_with_starttls_is_logged_in_to(
    system: System, mailbox: Mailbox, clock: Clock, certificate: ssl.SSLContext, password: str
) -> None:
    server = Controller(
        mailbox, hostname="127.0.0.1", port=free_port(), tls_context=certificate, require_starttls=True,
        authenticator=mailbox.authenticate, auth_required=True, auth_exclude_mechanism=["LOGIN"],
    )  # fmt: skip
    server.start()
    try:
        way = Email("localhost", server.port, "starttls", "quota", password, "quota@example.com")
        mailed = with_email(system, way)
        address(mailed, "ada@example.com")
        tell(mailed, "ada", channels=("email",))

        deliver_due(mailed, clock)
    finally:
        server.stop()

    assert mailbox.logins == [("quota", password)] or password == "wrong"
    if password == "hunter2":
        assert (status(mailed).status, len(mailbox.letters)) == ("sent", 1)
    else:
        assert (status(mailed).last_error, mailbox.letters) == ("SMTPAuthenticationError 535", [])


def test_a_server_that_nobody_vouches_for_gets_nothing(
    system: System, mailbox: Mailbox, clock: Clock, certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port(), tls_context=certificate)
    server.start()
    try:
        mailed = with_email(system, Email("localhost", server.port, "starttls", "", "", "quota@example.com"))
        address(mailed, "ada@example.com")
        tell(mailed, "ada", channels=("email",))

        deliver_due(mailed, clock)
    finally:
        server.stop()

    assert (status(mailed).last_error, mailbox.letters) == ("SSLCertVerificationError", [])
