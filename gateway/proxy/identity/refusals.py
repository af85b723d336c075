"""What callers hear who are not believed. All failures of a credential read alike: which one it was helps nobody but
someone who guesses."""

from __future__ import annotations

from gateway.proxy.refusals import Refusal

UNAUTHENTICATED = Refusal(
    401, "invalid_api_key", "The API key is missing or not valid. Send it as: Authorization: Bearer YOUR_KEY."
)
INSUFFICIENT_SCOPE = Refusal(403, "insufficient_scope", "This credential may not be used for this operation.")
UNKNOWN_TIER = Refusal(
    403, "unknown_tier", "Your account is on a plan that this gateway does not have. Tell its operator."
)
KEYS_UNAVAILABLE = Refusal(
    503, "identity_unavailable", "Your token cannot be checked at the moment. Try again shortly.", retry_after_ms=1000
)
