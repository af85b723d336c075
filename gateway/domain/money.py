"""Money: whole minor units of a currency. Nothing here, or anywhere, holds a fraction of one.

Currencies and their minor units are those of ISO 4217: 10 000 rupiah are 1 000 000 sen, 4.99 dollars are 499 cents, 500
yen are 500 yen. People read and write major units: "10000 IDR", "4.99 USD".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Minor units have so many places where it is not two (ISO 4217, list one).
_PLACES = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI"), 0),
    **dict.fromkeys(("VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
_TWO_PLACES = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE
    CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR
    KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB
    PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY
    TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
"""
_PLACES |= dict.fromkeys(_TWO_PLACES.split(), 2)
#: The smallest amount that can be paid, in minor units, where it is not one: nobody has sen.
_PAYABLE = {"IDR": 100}

#: No price is larger: it is kept exactly by everything that reads JSON.
MAX_MINOR = 2**53 - 1

_TEXT = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,4}))? ([A-Z]{3})")


@dataclass(frozen=True, slots=True)
class Money:
    """An amount that is paid. Negative where it is a difference."""

    #: In the currency's minor units.
    minor: int
    #: Three letters of ISO 4217.
    currency: str

    @property
    def major(self) -> str:
        """As people write it, without the currency: "10000", "4.99"."""
        places = places_of(self.currency)
        whole, rest = divmod(abs(self.minor), 10**places)
        sign = "-" if self.minor < 0 else ""
        return f"{sign}{whole}.{rest:0{places}d}" if rest else f"{sign}{whole}"

    def __str__(self) -> str:
        return f"{self.major} {self.currency}"

    @property
    def is_payable(self) -> bool:
        """Whether there is money for it, down to the last unit."""
        return 0 < self.minor <= MAX_MINOR and self.minor % _PAYABLE.get(self.currency, 1) == 0

    def share(self, part: int, whole: int) -> Money:
        """part/whole of it, rounded down to what can be paid: 0 at the least."""
        step = _PAYABLE.get(self.currency, 1)
        return Money(self.minor * part // whole // step * step, self.currency)

    def share_up(self, part: int, whole: int) -> Money:
        """part/whole of it, rounded up to what can be paid."""
        step = _PAYABLE.get(self.currency, 1)
        return Money(-(-self.minor * part // (whole * step)) * step, self.currency)


def places_of(currency: str) -> int:
    """How many places a currency's minor unit has. Raises ValueError for what is no currency."""
    if currency not in _PLACES:
        raise ValueError(f"{currency!r} is no currency of ISO 4217")
    return _PLACES[currency]


def parse_money(text: str) -> Money:
    """Reads "10000 IDR" or "4.99 USD". Raises ValueError, which says what is wrong with it."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError('must be an amount and a currency, such as "50000 IDR" or "4.99 USD"')
    whole, rest, currency = found[1], found[2] or "", found[3]
    places = places_of(currency)
    if len(rest) > places:
        raise ValueError(f"{currency} has {places} places after the point")
    money = Money(int(whole) * 10**places + int(rest.ljust(places, "0") or "0"), currency)
    if not money.is_payable:
        raise ValueError(f"{money} cannot be paid")
    return money
