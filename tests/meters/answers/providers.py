"""Answers of Anthropic, Google and Cohere."""
# ruff: noqa: E501  An event is one line, as it is on the wire.

from __future__ import annotations

from gateway.domain.usage import Usage
from tests.meters.answers.answer import JSON, NDJSON, SSE, Answer

ANTHROPIC_MESSAGES = (
    Answer(
        "a message that read and wrote the cache",
        "anthropic-messages",
        JSON,
        '{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"Hi"}],"usage":{'
        '"input_tokens":20,"cache_creation_input_tokens":300,"cache_read_input_tokens":1000,"output_tokens":50,'
        '"output_tokens_details":{"thinking_tokens":30}}}',
        Usage(input=1320, cached=1000, cache_write=300, output=50, reasoning=30),
    ),
    Answer(
        "a stream whose message_delta says only the output",
        "anthropic-messages",
        SSE,
        """\
event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","content":[],"usage":{"input_tokens":25,"cache_creation_input_tokens":5,"cache_read_input_tokens":10,"output_tokens":1}}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}

event: message_stop
data: {"type":"message_stop"}

""",
        Usage(input=40, cached=10, cache_write=5, output=15),
    ),
    Answer(
        "a stream whose message_delta replaces the input as well",
        "anthropic-messages",
        SSE,
        """\
event: message_start
data: {"type":"message_start","message":{"type":"message","usage":{"input_tokens":100,"cache_read_input_tokens":0,"output_tokens":2}}}

event: message_delta
data: {"type":"message_delta","delta":{},"usage":{"input_tokens":300,"cache_read_input_tokens":7,"output_tokens":40}}

event: message_delta
data: {"type":"message_delta","delta":{},"usage":{"output_tokens":44}}

""",
        Usage(input=307, cached=7, output=44),
    ),
    Answer(
        "a stream that ends in an error",
        "anthropic-messages",
        SSE,
        """\
event: message_start
data: {"type":"message_start","message":{"type":"message","usage":{"input_tokens":25,"output_tokens":1}}}

event: error
data: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

""",
        Usage(input=25, output=1),
        failed=True,
    ),
)

GEMINI = (
    Answer(
        "a generated content",
        "gemini",
        JSON,
        '{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}],"usageMetadata":{"promptTokenCount":9,'
        '"cachedContentTokenCount":4,"toolUsePromptTokenCount":6,"candidatesTokenCount":29,"thoughtsTokenCount":258,'
        '"totalTokenCount":302}}',
        Usage(input=15, cached=4, output=287, reasoning=258),
    ),
    Answer(
        "a stream whose last chunk says nothing of usage",
        "gemini",
        SSE,
        """\
data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":1,"totalTokenCount":10}}

data: {"candidates":[{"content":{"parts":[{"text":"b"}]}}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":3,"totalTokenCount":12}}

data: {"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"trafficType":"ON_DEMAND"}}

data: {"candidates":[{"groundingMetadata":{}}]}

""",
        Usage(input=9, output=3),
    ),
    Answer(
        "a stream as one JSON array",
        "gemini",
        "application/json; charset=UTF-8",
        """\
[{
  "candidates": [{"content": {"parts": [{"text": "a"}]}}],
  "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}
}
,
{
  "candidates": [{"content": {"parts": [{"text": "b"}]}}],
  "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}
}
]
""",
        Usage(input=9, output=2),
    ),
    Answer(
        "the Live API's name for the output",
        "gemini",
        NDJSON,
        '{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":3,"responseTokenCount":4,'
        '"totalTokenCount":7}}\n',
        Usage(input=3, output=4),
    ),
    Answer(
        "an error in a stream",
        "gemini",
        SSE,
        'data: {"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}\n\n',
        None,
        failed=True,
    ),
)

_INTERACTION_USAGE = (
    '"usage":{"total_tokens":185,"total_input_tokens":10,"total_cached_tokens":2,"total_output_tokens":31,'
    '"total_tool_use_tokens":7,"total_thought_tokens":137}'
)
GEMINI_INTERACTIONS = (
    Answer(
        "an interaction",
        "gemini-interactions",
        JSON,
        '{"id":"v1_1","status":"completed",' + _INTERACTION_USAGE + ',"object":"interaction"}',
        Usage(input=17, cached=2, output=168, reasoning=137),
    ),
    Answer(
        "a stream of an interaction",
        "gemini-interactions",
        SSE,
        'data: {"interaction":{"status":"in_progress"},"event_type":"interaction.created"}\n\n'
        'data: {"index":1,"delta":{"text":"Hi","type":"text"},"event_type":"step.delta"}\n\n'
        'data: {"interaction":{"status":"completed",'
        + _INTERACTION_USAGE
        + '},"event_type":"interaction.completed"}\n\n',
        Usage(input=17, cached=2, output=168, reasoning=137),
    ),
)

COHERE = (
    Answer(
        "a chat whose billed units are floats",
        "cohere",
        JSON,
        '{"id":"1","message":{"role":"assistant","content":[{"type":"text","text":"Hi"}]},"usage":{"billed_units":{'
        '"input_tokens":5.0,"output_tokens":118.2},"tokens":{"input_tokens":71.0,"output_tokens":118.0}}}',
        Usage(input=5, output=119),
    ),
    Answer(
        "a chat stream",
        "cohere",
        SSE,
        """\
event: message-start
data: {"id":"1","type":"message-start","delta":{"message":{"role":"assistant"}}}

event: content-delta
data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Hi"}}}}

event: message-end
data: {"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":12,"output_tokens":7},"tokens":{"input_tokens":507,"output_tokens":10},"cached_tokens":448}}}

""",
        Usage(input=12, output=7),
    ),
    Answer(
        "embeddings",
        "cohere",
        JSON,
        '{"id":"1","embeddings":{"float":[[0.1,0.2]]},"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":3}}}',
        Usage(input=3),
    ),
    Answer(
        "a stream that ends in an error",
        "cohere",
        SSE,
        'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"ERROR","error":"internal"}}\n\n',
        None,
        failed=True,
    ),
)
