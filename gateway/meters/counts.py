"""From a provider's counts to `Usage`, in which they nest whatever way the provider splits them."""

from __future__ import annotations

from gateway.domain.usage import Usage


def usage_from_counts(
    *,
    input: int | None,
    output: int | None,
    cached: int | None = None,
    cache_write: int | None = None,
    reasoning: int | None = None,
    total: int | None = None,
) -> Usage | None:
    """The usage that these counts make; None stands for a count that the provider did not give.

    A missing side is what `total` leaves of it, and a total alone counts as output (Dify's workflows say no more).
    A part larger than its whole is cut to it. Nothing but zeros is no usage: it is what streams begin with and what
    Dify reports by mistake (dify #20796).
    """
    if input is None and output is None:
        input, output = 0, total or 0
    elif input is None or output is None:
        rest = max(0, (total or 0) - (input or 0) - (output or 0))
        input = rest if input is None else input
        output = rest if output is None else output
    if input + output == 0:
        return None
    cached = min(cached or 0, input)
    return Usage(
        input=input,
        cached=cached,
        cache_write=min(cache_write or 0, input - cached),
        output=output,
        reasoning=min(reasoning or 0, output),
    )


def sum_of(*counts: int | None) -> int | None:
    """The sum of the counts that are there; None when none is."""
    there = [count for count in counts if count is not None]
    return sum(there) if there else None
