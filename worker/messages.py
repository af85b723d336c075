"""How a notice reads: as the body of a webhook, and as an e-mail in plain English."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from gateway.accounts.profile import email_fault
from gateway.config import Config
from gateway.ledger.notices import Delivery


def message_id(delivery: Delivery) -> str:
    """The same for every try, so that a receiver can tell a repeat. ASCII, whatever the account is called."""
    return "ntc_" + hashlib.sha256(delivery.notice.encode()).hexdigest()[:32]


def webhook_body(delivery: Delivery) -> bytes:
    """As Standard Webhooks has it: type, timestamp, data."""
    body: dict[str, Any] = {
        "type": f"quota.{delivery.kind}",
        "timestamp": delivery.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": {"account": delivery.account, **delivery.facts},
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def webhook_headers(id: str, body: bytes, secret: bytes, now: datetime) -> dict[str, str]:
    """Signed over id, timestamp and body, with dots between."""
    timestamp = str(int(now.timestamp()))
    signed = b".".join((id.encode(), timestamp.encode(), body))
    signature = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }


def email(delivery: Delivery, sender: str, config: Config, now: datetime) -> EmailMessage:
    """Raises ValueError for an address or a text that no header can hold."""
    if fault := email_fault(delivery.email):  # It came into the ledger in some other way, or before this was a fault.
        raise ValueError(f"the e-mail address {fault}")
    subject, text = _told(delivery, config)
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = sender
    message["To"] = delivery.email
    message["Date"] = format_datetime(now)
    domain = sender.rpartition("@")[2].rstrip(">")
    message["Message-ID"] = f"<{message_id(delivery)}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message


def _told(delivery: Delivery, config: Config) -> tuple[str, str]:
    facts = delivery.facts
    account = f"Account: {delivery.account}\n"

    def units(name: str) -> str:
        return f"{_amount(int(facts[name]), config.decimals)} {config.unit}(s)"

    match delivery.kind:
        case "low_balance":
            return "Your balance is low", f"You have {units('left')} left.\n\n{account}"
        case "exhausted":
            return "Your balance is used up", f"Nothing is left: calls are refused until there is more.\n\n{account}"
        case "threshold":
            share = f"{facts['percent']} % of this {facts['allowance']}'s allowance"
            used = f"{units('used')} of {units('amount')}"
            return f"You have used {share}", f"You have used {used}, more than {share}.\n\n{account}"
        case "reset":
            return (
                f"Your {facts['allowance']}'s allowance is back",
                f"A new {facts['allowance']} has begun, with {units('amount')}.\n\n{account}",
            )
        case "license_inactive":
            text = f"Nothing is left on license {facts['license']}: it is inactive until it is topped up.\n\n{account}"
            return f"License {facts['license']} is inactive", text
        case "subscription_started":
            return f"Welcome to {facts['plan']}", f"Your plan runs until {facts['ends_at']}.\n\n{account}"
        case "renewal_due":
            text = f"It is paid until {facts['ends_at']}. Pay for the next period before that, and nothing changes."
            return f"Your plan {facts['plan']} is to be renewed", f"{text}\n\n{account}"
        case "renewal_overdue":
            text = f"The next period is not paid. Until {facts['ends_at']} you can pay for it, and keep the plan."
            return f"Your plan {facts['plan']} is overdue", f"{text}\n\n{account}"
        case "subscription_ended":
            return f"Your plan {facts['plan']} has ended", f"It ended at {facts['ended_at']}.\n\n{account}"
    raise ValueError(f"{delivery.kind} is no kind of notice")


def _amount(units: int, decimals: int) -> str:
    """With the point where `decimals` puts it, no float on the way."""
    if decimals == 0:
        return str(units)
    digits = str(units).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}"
