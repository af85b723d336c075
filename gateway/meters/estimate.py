"""How many tokens a text takes, without the tokenizer that will count it.

The rates are for o200k and vocabularies of its size, fitted to the true counts of texts of five registers in English,
Indonesian, Thai and Vietnamese (tests/meters/registers: 0.95 to 1.25 of the truth); those of other scripts follow the
sample sentences of OpenAI's "Hello GPT-4o". They lie a little above, because a hold that is too small is worse than one
that is too large. An older vocabulary of half the size (cl100k) takes as much for English, up to 1.4 times as much for
Indonesian, 1.7 times for Vietnamese and 2.3 times for Thai.
"""

from __future__ import annotations

import msgspec

from gateway.meters.document import UNREADABLE

#: Rates and sums are in hundredths of a token, so that all arithmetic is on integers.
HUNDREDTHS = 100

#: What an image or a recording costs that is sent inside of a request, whatever its size.
MEDIA_TOKENS = 1_600

#: From so many base64 characters in a row on, it is a file and no word.
MIN_BASE64_RUN_CHARS = 512


def tokens_of_text(data: bytes) -> int:
    """Tokens of UTF-8 text, rounded up: at most 15 % below the truth for English, Indonesian, Thai and Vietnamese."""
    return -(-hundredths_of_tokens(data) // HUNDREDTHS)


def tokens_of_json_request(body: bytes) -> int:
    """Tokens that a request takes, from its JSON body, and rather too many: its punctuation and options count as text.

    Files sent in it as base64 count `MEDIA_TOKENS` each.
    """
    text, files = _without_base64(body)
    return tokens_of_text(_without_escapes(text)) + files * MEDIA_TOKENS


def hundredths_of_tokens(data: bytes) -> int:
    """Tokens of UTF-8 text, in hundredths: so much for each character of a script, and for each run of punctuation."""
    scripts = data.translate(_SCRIPT_OF_BYTE)
    hundredths = sum(scripts.count(row) * rate for row, rate in (_ASCII_RATES if data.isascii() else _RATES))
    vietnamese = data.count(b"\xe1\xba") + data.count(b"\xe1\xbb")
    hundredths -= vietnamese * (_REST_RATE - _ACCENTED_RATE)
    runs = (b"w" + data.translate(_KIND_OF_BYTE)).count(b"w.")
    return hundredths + runs * _PUNCTUATION_RATE


#: For a run, line ends included: vocabularies hold `",` and `**:` and `.` with two line feeds as one token.
_PUNCTUATION_RATE = 110
#: Letters with accents, among them the Vietnamese ones in U+1E80..U+1EFF.
_ACCENTED_RATE = 73
#: Scripts that are rare in vocabularies, and single signs.
_REST_RATE = 100

_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = b"0123456789"

#: (bytes, hundredths of a token for each). A character beyond ASCII is told by its first byte in UTF-8; the bytes that
#: continue it cost nothing.
_SCRIPTS: tuple[tuple[bytes, int], ...] = (
    (_LETTERS, 30),
    (_DIGITS, 65),
    (b" ", 1),  # It mostly belongs to the word that follows.
    (bytes(range(0xC2, 0xCE)), _ACCENTED_RATE),
    (bytes(range(0xCE, 0xE0)), 36),  # Greek, Cyrillic, Hebrew, Arabic
    (b"\xe0", 48),  # Thai, Lao, the scripts of India
    (b"\xe1", _REST_RATE),  # Khmer, Burmese, Georgian and more, and the Vietnamese letters
    (b"\xe2", 90),  # quotes, dashes, signs
    (bytes(range(0xE3, 0xEA)), 72),  # Chinese, Japanese
    (bytes(range(0xEA, 0xEE)), 65),  # Korean
    (b"\xee\xef", _REST_RATE),
    (bytes(range(0xF0, 0x100)), 200),  # emoji, and what is no UTF-8
)


def _script_of_byte() -> bytes:
    """A table for `bytes.translate` that makes of each byte the number of its row in `_SCRIPTS`, or 255."""
    table = bytearray([255]) * 256
    for row, (members, _) in enumerate(_SCRIPTS):
        for member in members:
            table[member] = row
    return bytes(table)


def _kind_of_byte() -> bytes:
    """A table for `bytes.translate`: "." for punctuation, "w" for all else."""
    kinds = bytearray(b".") * 0x80 + bytearray(b"w") * 0x80
    for byte in b" " + _LETTERS + _DIGITS:
        kinds[byte] = ord("w")
    return bytes(kinds)


_SCRIPT_OF_BYTE = _script_of_byte()
_RATES = [(bytes([row]), rate) for row, (_, rate) in enumerate(_SCRIPTS)]
_ASCII_RATES = _RATES[:3]
_KIND_OF_BYTE = _kind_of_byte()


def _without_base64(body: bytes) -> tuple[bytes, int]:
    """The body without its long base64 runs, and how many those were."""
    # PHP escapes each slash, which would cut a run into pieces.
    body = body.replace(b"\\/", b"/")
    signs = body.translate(_BASE64_SIGN)
    texts = []
    begin = 0
    while (run := signs.find(_LONG_RUN, begin)) >= 0:
        texts.append(body[begin:run])
        begin = signs.find(b" ", run)
        if begin < 0:
            begin = len(body)
    texts.append(body[begin:])
    return b"".join(texts), len(texts) - 1


_BASE64_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
#: Makes "x" of every base64 character and " " of every other, so that a run is found by one substring search.
_BASE64_SIGN = bytes(ord("x") if byte in _BASE64_CHARS else ord(" ") for byte in range(256))
_LONG_RUN = b"x" * MIN_BASE64_RUN_CHARS


def _without_escapes(body: bytes) -> bytes:
    r"""The JSON with characters instead of \uXXXX escapes, which are six bytes for one character."""
    if b"\\u" not in body:
        return body
    try:
        return msgspec.json.encode(msgspec.json.decode(body))
    except UNREADABLE:
        return body
