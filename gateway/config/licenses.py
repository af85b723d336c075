"""What `[licenses]` says."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config.faults import one_of
from gateway.config.shapes.licenses import LicensesShape
from gateway.domain.tier import Tier


def build_license_tier(shape: LicensesShape, tiers: Mapping[str, Tier], faults: list[str]) -> str:
    """The tier of all licenses; "": none are made. A license has what was put on it, and nothing comes by itself."""
    if not shape.tier:
        return ""
    place = f'licenses.tier = "{shape.tier}"'
    tier = tiers.get(shape.tier)
    if tier is None:
        faults.append(f"{place}: {one_of(tiers, 'a tier')}")
        return ""
    for what, given in (("a signup grant", tier.signup), ("an allowance", tier.allowances)):
        if given:
            faults.append(
                f"{place}: that tier has {what}, and a license has only what is put on it; name a tier without one"
            )
    if "credits" not in tier.burn_order:
        faults.append(f"{place}: the burn_order of that tier leaves out credits, which are all that a license has")
    return tier.name
