"""Delivers notices: a webhook to the operator's backend, an e-mail to the account's owner.

What fails is tried again later, for about two days (`gateway.ledger.notices.BACKOFF_S`), then given up and kept with
its last error. A delivery is claimed before it is sent, so that several workers send each once; one whose worker died
in the middle is sent again, under the same id.
"""

from __future__ import annotations

import logging
import smtplib
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx2

from gateway.accounts.system import System
from gateway.config.notifications import Email, Webhook
from gateway.ledger import notices
from gateway.ledger.notices import Delivery
from worker import messages, runtime

log = logging.getLogger("quotagate.worker")
# Its lines carry whole addresses, which may hold a token.
logging.getLogger("httpx2").setLevel(logging.WARNING)

#: Deliveries that are sent at once. Each waits for others most of its time, and so does this worker's queue.
AT_ONCE = 16
TIMEOUT_S = 10.0
#: A job goes on for so long, then makes room for others; the schedule carries on.
MAX_JOB_S = 10.0

Clock = Callable[[], datetime]


class NotDelivered(Exception):
    """Raised when a try failed. What it says holds no secret."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        #: No other try would help.
        self.for_good = for_good


def deliver() -> int:
    """RQ job: sends what is due. Returns how many deliveries were tried."""
    return deliver_due(runtime.system())


def deliver_due(system: System, clock: Clock = lambda: datetime.now(UTC), max_s: float = MAX_JOB_S) -> int:
    """Sends what is due by the clock, until nothing is, or the time is over."""
    tried = 0
    end = time.monotonic() + max_s
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="quotagate-deliver") as pool:
        while due := notices.claim(system.ledger, clock(), AT_ONCE):
            for ended in [pool.submit(_try, system, delivery, clock) for delivery in due]:
                ended.result()
            tried += len(due)
            if time.monotonic() > end:
                break
    return tried


def _try(system: System, delivery: Delivery, clock: Clock) -> None:
    """One try, and what came of it: noted at once, so that what fails elsewhere sends nothing twice."""
    told = system.config.notifications
    try:
        if delivery.channel == "webhook" and told.webhook is not None:
            send_webhook(told.webhook, delivery, clock())
        elif delivery.channel == "email" and told.email is not None:
            send_email(told.email, delivery, system, clock())
        else:
            raise NotDelivered(f"{delivery.channel} is not set up in [notifications] any more")
    except NotDelivered as failure:
        if notices.failed(system.ledger, delivery, str(failure), clock(), for_good=failure.for_good):
            log.error("notice %s was given up after %d tries: %s", delivery.id, delivery.tries, failure)
        else:
            log.warning("notice %s was not delivered, try %d: %s", delivery.id, delivery.tries, failure)
    else:
        notices.sent(system.ledger, delivery, clock())


def send_webhook(webhook: Webhook, delivery: Delivery, now: datetime) -> None:
    """Raises NotDelivered unless the receiver answers 2xx in time. Redirects are not followed."""
    body = messages.webhook_body(delivery)
    headers = messages.webhook_headers(messages.message_id(delivery), body, webhook.secret, now)
    try:
        with (
            httpx2.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
            # The answer's body is of no interest, however long it is.
            client.stream("POST", webhook.url, content=body, headers=headers) as answer,
        ):
            status = answer.status_code
    except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError) as error:
        # Its name alone: its text may hold the URL.
        raise NotDelivered(type(error).__name__) from None
    if not 200 <= status < 300:
        raise NotDelivered(f"the receiver answered {status}")


def send_email(server: Email, delivery: Delivery, system: System, now: datetime) -> None:
    """Raises NotDelivered unless the server takes the message."""
    if not delivery.email:
        raise NotDelivered("the account has no e-mail address any more", for_good=True)
    try:
        message = messages.email(delivery, server.sender, system.config, now)
    except (ValueError, KeyError) as error:
        raise NotDelivered(f"no message can be made: {type(error).__name__}", for_good=True) from None
    try:
        with _connect(server) as smtp:
            smtp.send_message(message)
    except smtplib.SMTPResponseException as error:
        raise NotDelivered(f"{type(error).__name__} {error.smtp_code}") from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({code for code, _ in error.recipients.values()})
        raise NotDelivered(f"the recipient was refused: {' '.join(map(str, codes))}") from None
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise NotDelivered(type(error).__name__) from None


def _connect(server: Email) -> smtplib.SMTP:
    trust = ssl.create_default_context()
    if server.security == "tls":
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_S, context=trust)
    else:
        smtp = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_S)
    try:
        if server.security == "starttls":
            smtp.starttls(context=trust)
        if server.user:
            smtp.login(server.user, server.password)
    except BaseException:
        smtp.close()
        raise
    return smtp
