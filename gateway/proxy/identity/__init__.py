"""Who calls: API keys, tokens of an issuer, the headers of a backend that knows its users, or nobody in particular.

`Identifier` asks each in turn. One that does not recognise what it is shown returns None; one that recognises it and
does not believe it refuses the call.
"""

from gateway.proxy.identity.credential import KEY_HEADERS
from gateway.proxy.identity.identifier import Identifier

__all__ = ["KEY_HEADERS", "Identifier"]
