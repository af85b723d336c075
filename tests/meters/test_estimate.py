"""Estimates of tokens, against counts that others have published."""

from __future__ import annotations

import base64
import json
import random

import pytest

from gateway.meters import tokens_of_json_request, tokens_of_text
from gateway.meters.estimate import MEDIA_TOKENS
from tests.meters.texts import ENGLISH, INDONESIAN, THAI, VIETNAMESE


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # OpenAI, "Hello GPT-4o" (May 2024): tokens of o200k.
        ("Hello, my name is GPT-4o. I'm a new type of language model, it's nice to meet you!", 24),
        ("Ciao, mi chiamo GPT-4o. Sono un nuovo tipo di modello linguistico, piacere di conoscerti!", 28),
        ("Hola, me llamo GPT-4o. Soy un nuevo tipo de modelo de lenguaje, ¡es un placer conocerte!", 26),
        ("Hallo, mein Name is GPT-4o. Ich bin ein neues KI-Sprachmodell. Es ist schön, dich kennenzulernen.", 29),
        ("Merhaba, benim adım GPT-4o. Ben yeni bir dil modeli türüyüm, tanıştığımıza memnun oldum!", 30),
        ("Xin chào, tên tôi là GPT-4o. Tôi là một loại mô hình ngôn ngữ mới, rất vui được gặp bạn!", 30),
        ("Привет, меня зовут GPT-4o. Я — новая языковая модель, приятно познакомиться!", 23),
        ("مرحبًا، اسمي جي بي تي-4o. أنا نوع جديد من نموذج اللغة، سررت بلقائك!", 26),
        ("你好，我的名字是GPT-4o。我是一种新型的语言模型，很高兴见到你!", 24),
        ("こんにちは、私の名前はGPT-4oです。私は新しいタイプの言語モデルです。初めまして！", 26),
        ("안녕하세요, 제 이름은 GPT-4o입니다. 저는 새로운 유형의 언어 모델입니다, 만나서 반갑습니다!", 27),
        ("नमस्ते, मेरा नाम जीपीटी-4o है। मैं एक नए प्रकार का भाषा मॉडल हूँ। आपसे मिलकर अच्छा लगा!", 31),
    ],
)
def test_a_sentence_is_not_estimated_far_below_what_it_takes(text: str, tokens: int) -> None:
    assert 0.85 * tokens <= tokens_of_text(text.encode()) <= 1.4 * tokens


@pytest.mark.parametrize(
    ("text", "chars_per_token"),
    [
        # Characters a token of o200k over the 997 sentences of FLORES+ (github.com/inimaz/mothertoken).
        (ENGLISH, 4.90),
        (VIETNAMESE, 3.49),
        (THAI, 2.43),
        # Not among them: between Swahili, 3.48, and English.
        (INDONESIAN, 4.2),
    ],
    ids=["English", "Vietnamese", "Thai", "Indonesian"],
)
def test_prose_is_estimated_from_a_little_below_the_published_rate_to_a_third_above(
    text: str, chars_per_token: float
) -> None:
    published = len(text) / chars_per_token

    assert 0.85 * published <= tokens_of_text(text.encode()) <= 1.33 * published


def test_nothing_takes_no_tokens_and_something_takes_one() -> None:
    assert [tokens_of_text(text) for text in (b"", b" ", b"a", b"\xff", b"\x00")] == [0, 1, 1, 2, 2]


def test_a_longer_text_never_takes_fewer_tokens() -> None:
    text = (ENGLISH + THAI + VIETNAMESE).encode()

    estimates = [tokens_of_text(text[:end]) for end in range(0, len(text), 11)]

    assert estimates == sorted(estimates)


@pytest.mark.parametrize(
    "text", [ENGLISH, THAI, VIETNAMESE, "𝄞🍓" * 50], ids=["English", "Thai", "Vietnamese", "beyond 16 bits"]
)
def test_escapes_in_a_request_count_as_the_characters_they_stand_for(text: str) -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": text}]}
    escaped = json.dumps(request, ensure_ascii=True).encode()
    plain = json.dumps(request, ensure_ascii=False).encode()

    assert tokens_of_json_request(escaped) == pytest.approx(tokens_of_json_request(plain), abs=8)
    assert tokens_of_json_request(plain) >= tokens_of_text(text.encode())


def image(size_bytes: int) -> str:
    return base64.b64encode(random.Random(size_bytes).randbytes(size_bytes)).decode()


@pytest.mark.parametrize("escape_slashes", [False, True], ids=["plain", "slashes escaped, as PHP does"])
def test_an_image_counts_the_same_whatever_its_size(escape_slashes: bool) -> None:
    def request(*images: str) -> bytes:
        parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}} for data in images]
        body = json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": ENGLISH}, *parts]}]})
        return (body.replace("/", "\\/") if escape_slashes else body).encode()

    one = tokens_of_json_request(request(image(400)))

    assert tokens_of_json_request(request(image(400_000))) == one
    assert MEDIA_TOKENS < tokens_of_json_request(request(image(400), image(9000))) - one < MEDIA_TOKENS + 50
    assert one == pytest.approx(tokens_of_text(ENGLISH.encode()) + MEDIA_TOKENS, rel=0.05)


def test_a_short_run_of_base64_is_text() -> None:
    assert tokens_of_json_request(b'{"input":"' + b"QUJD" * 100 + b'"}') < MEDIA_TOKENS


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", rb'{"a":"\ud83d"}', rb"\u", b"A" * 600, b"[" * 5000 + rb"\u0041"])
def test_a_request_that_is_no_json_is_estimated_all_the_same(body: bytes) -> None:
    assert tokens_of_json_request(body) >= 0
