"""What payers scan and type: QR codes of QRIS, and numbers of virtual accounts. They look right, and lead nowhere."""

from __future__ import annotations

import secrets
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bank:
    """Whose virtual accounts are numbered how."""

    #: The digits that its numbers begin with, and how many there are in all.
    prefix: str
    length: int


#: By their codes in Xendit's channels: BCA_VIRTUAL_ACCOUNT …
BANKS = {
    "BCA": Bank("381659", 16),
    "BNI": Bank("8808", 16),
    "BRI": Bank("26215", 18),
    "MANDIRI": Bank("88608", 16),
    "PERMATA": Bank("7293", 16),
    "BSI": Bank("9347", 16),
}


def account_number(bank: str) -> str:
    """A number of a virtual account at a bank, by chance."""
    found = BANKS[bank]
    rest = found.length - len(found.prefix)
    return f"{found.prefix}{secrets.randbelow(10**rest):0{rest}d}"


def qr_string(amount: int, reference: str) -> str:
    """What a dynamic QR code of QRIS says, in the Merchant-Presented Mode of EMVCo: tags with their lengths, and a CRC
    over all of it. `amount`: whole rupiah. `reference`: its last 25 characters are in it."""
    merchant = _tag("00", "COM.SANDBOX.WWW") + _tag("01", "936009990000000001") + _tag("03", "UMI")
    network = _tag("00", "ID.CO.QRIS.WWW") + _tag("02", "ID1020000000001") + _tag("03", "UMI")
    said = "".join(
        (
            _tag("00", "01"),  # The format's version.
            _tag("01", "12"),  # Paid once.
            _tag("26", merchant),
            _tag("51", network),
            _tag("52", "5734"),  # Computer software.
            _tag("53", "360"),  # IDR, by its number in ISO 4217.
            _tag("54", str(amount)),
            _tag("58", "ID"),
            _tag("59", "QUOTAGATE SANDBOX"),
            _tag("60", "JAKARTA"),
            _tag("62", _tag("05", reference[-25:])),
            "6304",
        )
    )
    return f"{said}{crc16(said.encode()):04X}"


def crc16(data: bytes) -> int:
    """CRC-16 with the polynomial 0x1021 and a start of 0xFFFF, that EMVCo's codes end with."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def _tag(number: str, value: str) -> str:
    return f"{number}{len(value):02d}{value}"
