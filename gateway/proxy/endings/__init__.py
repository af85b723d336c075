"""How a stream is brought to a well-formed end before its upstream ends it: the cut of DESIGN section 4.

Pure: bytes in, bytes out. A `Record` keeps what the client has of a stream; `ENDINGS` has, a dialect, the words that a
model out of tokens would end with, because every client understands those.
"""

from gateway.proxy.endings.ending import Cut
from gateway.proxy.endings.record import Record
from gateway.proxy.endings.registry import ENDINGS, ending_of

__all__ = ["ENDINGS", "Cut", "Record", "ending_of"]
