"""The page on which people pay: plain HTML, which loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

#: What the page may do, for its header: be looked at, and send its own form.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

_SAID = {
    "REQUIRES_ACTION": "Waits for the payment",
    "ACTIVE": "Waits for the payment",
    "SUCCEEDED": "Paid. Thank you!",
    "COMPLETED": "Paid. Thank you!",
    "EXPIRED": "Expired: it can no longer be paid",
    "CANCELED": "Canceled: it can no longer be paid",
    "FAILED": "The payment failed",
}
_OPEN, _PAID = ("REQUIRES_ACTION", "ACTIVE"), ("SUCCEEDED", "COMPLETED")

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 30rem; margin: 8vh auto; padding: 0 1rem; }}
main {{ border: 1px solid #8886; border-radius: 12px; padding: 1.5rem 2rem; }}
h1 {{ font-size: 2rem; margin: 0 0 .5rem; }}
dt {{ opacity: .7; font-size: .85rem; margin-top: .75rem; }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
dd.number {{ font: 1.1rem ui-monospace, monospace; }}
button {{ font: inherit; width: 100%; padding: .7rem; border: 0; border-radius: 8px; margin-top: 1rem; }}
button.pay {{ background: #0a6cff; color: #fff; }}
.note {{ color: #c00; }}
footer {{ opacity: .7; font-size: .85rem; text-align: center; margin-top: 1rem; }}
</style>
</head>
<body>
<main>
{body}
</main>
<footer>The sandbox of Quotagate: no money moves here.</footer>
</body>
</html>
"""


def payable(id: str, wanted: Mapping[str, Any], amount: int, note: str = "") -> str:
    """The page of a payment request or a session. `amount`: in rupiah. `note`: why what was tried did not work."""
    status = wanted["status"]
    rows = [("Reference", wanted["reference_id"], ""), ("For", wanted["description"], "")]
    for action in wanted.get("actions", ()):
        named = "QR code" if action["descriptor"] == "QR_STRING" else _bank(wanted["channel_code"])
        rows.append((named, action["value"], "number"))
    rows.append(("Until", wanted.get("expires_at") or wanted.get("channel_properties", {}).get("expires_at"), ""))
    parts = [f"<h1>Rp {amount:,}</h1>".replace(",", "."), f'<p id="status">{escape(_SAID.get(status, status))}</p>']
    parts += [f'<p class="note">{escape(note)}</p>'] if note else []
    parts.append("<dl>")
    parts += [f'<dt>{name}</dt><dd class="{kind}">{escape(value)}</dd>' for name, value, kind in rows if value]
    parts.append("</dl>")
    if status in _OPEN:
        parts.append(f'<form method="post" action="/pay/{escape(id)}"><button class="pay">Pay</button></form>')
        parts.append(f'<form method="post" action="/pay/{escape(id)}/fail"><button>Let it fail</button></form>')
    back = wanted.get("success_return_url" if status in _PAID else "cancel_return_url", "")
    if back.startswith(("https://", "http://")):
        parts.append(f'<p><a id="back" href="{escape(back)}">Back to the shop</a></p>')
    return _PAGE.format(title=f"Pay {escape(wanted['reference_id'])}", body="\n".join(parts))


def waiting(wanted: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of all that waits for its payer, by id."""
    if not wanted:
        return nothing()
    links = [f'<a href="/pay/{escape(id)}">{escape(each["reference_id"])}</a>' for id, each in wanted.items()]
    rows = "\n".join(f"<li>{link}</li>" for link in links)
    return _PAGE.format(title="To be paid", body=f"<h1>To be paid</h1>\n<ul>\n{rows}\n</ul>")


def nothing() -> str:
    """The page of an id that is not known, or of none at all."""
    return _PAGE.format(title="Nothing to pay", body="<h1>Nothing to pay</h1><p>Nobody waits for a payment here.</p>")


def _bank(channel: str) -> str:
    return f"Virtual account at {channel.removesuffix('_VIRTUAL_ACCOUNT')}"
