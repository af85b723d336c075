"""Answers of the other endpoints of OpenAI."""
# ruff: noqa: E501  An event is one line, as it is on the wire.

from __future__ import annotations

from gateway.domain.usage import Usage
from tests.meters.answers.answer import JSON, SSE, Answer

OPENAI_RESPONSES = (
    Answer(
        "a response",
        "openai-responses",
        JSON,
        '{"id":"resp_1","object":"response","status":"completed","error":null,"output":[{"type":"message","content":['
        '{"type":"output_text","text":"Hi"}]}],"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":10,'
        '"cache_write_tokens":6},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":123}}',
        Usage(input=36, cached=10, cache_write=6, output=87, reasoning=64),
    ),
    Answer(
        "a stream of a response",
        "openai-responses",
        SSE,
        """\
event: response.created
data: {"type":"response.created","response":{"id":"resp_1","error":null,"usage":null,"max_output_tokens":null}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","delta":"Hi"}

event: response.completed
data: {"type":"response.completed","response":{"id":"resp_1","error":null,"usage":{"input_tokens":11,"output_tokens":12,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":23}}}

""",
        Usage(input=11, output=12, reasoning=3),
    ),
    Answer(
        "a response cut at its limit",
        "openai-responses",
        SSE,
        """\
event: response.incomplete
data: {"type":"response.incomplete","response":{"error":null,"incomplete_details":{"reason":"max_output_tokens"},"usage":{"input_tokens":5,"output_tokens":6}}}

""",
        Usage(input=5, output=6),
    ),
    Answer(
        "a response that failed without usage",
        "openai-responses",
        SSE,
        """\
event: response.failed
data: {"type":"response.failed","response":{"error":{"code":"server_error","message":"sorry"},"usage":null}}

""",
        None,
        failed=True,
    ),
    Answer(
        "a response that failed and was still worked on",
        "openai-responses",
        SSE,
        """\
event: response.failed
data: {"type":"response.failed","response":{"error":{"code":"server_error","message":"sorry"},"usage":{"input_tokens":5,"output_tokens":60}}}

""",
        Usage(input=5, output=60),
    ),
    Answer(
        "an error event",
        "openai-responses",
        SSE,
        'event: error\ndata: {"type":"error","code":"rate_limit_exceeded","message":"slow down","param":null}\n\n',
        None,
        failed=True,
    ),
)

OPENAI_OTHER = (
    Answer(
        "embeddings",
        "openai-embeddings",
        JSON,
        '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.0023,-0.0093]}],'
        '"usage":{"prompt_tokens":8,"total_tokens":8}}',
        Usage(input=8),
    ),
    Answer(
        "an image",
        "openai-images",
        JSON,
        '{"created":1713833628,"data":[{"b64_json":"aGFsbG8="}],"usage":{"total_tokens":100,"input_tokens":50,'
        '"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}',
        Usage(input=50, output=50, images=1),
    ),
    Answer(
        "images without usage",
        "openai-images",
        JSON,
        '{"created":1713833628,"data":[{"url":"https://images/1.png"},{"url":"https://images/2.png"}]}',
        Usage(images=2),
    ),
    Answer(
        "a stream of images",
        "openai-images",
        SSE,
        'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image","b64_json":"aGFs"}\n\n'
        'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"aGFsbG8=",'
        '"usage":{"total_tokens":100,"input_tokens":50,"output_tokens":50}}\n\n',
        Usage(input=50, output=50, images=1),
    ),
    Answer(
        "a stream of two edited images without usage",
        "openai-images",
        SSE,
        'data: {"type":"image_edit.partial_image","b64_json":"aGFs"}\n\n'
        'data: {"type":"image_edit.completed","b64_json":"aGFsbG8="}\n\n'
        'data: {"type":"image_edit.completed","b64_json":"aGFsbG8="}\n\n',
        Usage(images=2),
    ),
    Answer(
        "a transcription billed by tokens",
        "openai-audio",
        JSON,
        '{"text":"Halo","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,'
        '"audio_tokens":14},"output_tokens":45,"total_tokens":59}}',
        Usage(input=14, output=45),
    ),
    Answer(
        "a transcription billed by its duration",
        "openai-audio",
        JSON,
        '{"text":"Halo","usage":{"type":"duration","seconds":12.3}}',
        Usage(audio_ms=12_300),
    ),
    Answer(
        "a verbose transcription whose length is its only measure",
        "openai-audio",
        JSON,
        '{"task":"transcribe","language":"english","duration":8.470000267028809,"text":"Halo","segments":[]}',
        Usage(audio_ms=8_471),
    ),
    Answer(
        "a stream of a transcription",
        "openai-audio",
        SSE,
        'data: {"type":"transcript.text.delta","delta":"Halo"}\n\n'
        'data: {"type":"transcript.text.done","text":"Halo","usage":{"type":"tokens","input_tokens":14,'
        '"output_tokens":45,"total_tokens":59}}\n\n',
        Usage(input=14, output=45),
    ),
    Answer(
        "a transcription that names its tokens as a chat does (Mistral)",
        "openai-audio",
        JSON,
        '{"model":"voxtral","text":"Halo","usage":{"prompt_audio_seconds":36,"prompt_tokens":13,"completion_tokens":151,'
        '"total_tokens":164}}',
        Usage(input=13, output=151, audio_ms=36_000),
    ),
)
