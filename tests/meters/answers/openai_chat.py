"""Answers of OpenAI chat and of what is compatible with it."""
# ruff: noqa: E501  An event is one line, as it is on the wire.

from __future__ import annotations

from gateway.domain.usage import Usage
from tests.meters.answers.answer import JSON, SSE, Answer

OPENAI_CHAT = (
    Answer(
        "a chat completion",
        "openai-chat",
        JSON,
        """\
{
  "id": "chatcmpl-1",
  "object": "chat.completion",
  "model": "gpt-5.2",
  "choices": [{"index": 0, "message": {"role": "assistant", "content": "Halo \\"dunia\\" — ข้าว"}, "finish_reason": "stop"}],
  "usage": {
    "prompt_tokens": 40,
    "completion_tokens": 30,
    "total_tokens": 70,
    "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 20}
  }
}
""",
        Usage(input=40, cached=16, output=30, reasoning=20),
    ),
    Answer(
        "a chat stream with include_usage",
        "openai-chat",
        SSE,
        """\
data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}

data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"the \\"usage\\": {\\"completion_tokens\\": 9}"}}],"usage":null}

data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}

data: {"id":"c","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}}

data: [DONE]

""",
        Usage(input=11, output=5),
    ),
    Answer(
        "a chat stream without usage",
        "openai-chat",
        SSE,
        """\
: OPENROUTER PROCESSING

data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"}}]}

data: [DONE]

""",
        None,
    ),
    Answer(
        "running totals, of which the last wins (vLLM)",
        "openai-chat",
        SSE,
        """\
data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":7,"total_tokens":8,"completion_tokens":1}}

data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"b"}}],"usage":{"prompt_tokens":7,"total_tokens":9,"completion_tokens":2}}

data: {"object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":7,"total_tokens":10,"completion_tokens":3}}

data: [DONE]

""",
        Usage(input=7, output=3),
    ),
    Answer(
        "zeros until the end (Ollama), in a legacy completion",
        "openai-chat",
        SSE,
        """\
data: {"object":"text_completion","choices":[{"text":"a"}],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}

data: {"object":"text_completion","choices":[],"usage":{"prompt_tokens":4,"completion_tokens":1,"total_tokens":5}}

data: [DONE]

""",
        Usage(input=4, output=1),
    ),
    Answer(
        "reasoning outside of the completion (xAI)",
        "openai-chat",
        JSON,
        '{"object":"chat.completion","choices":[],"usage":{"prompt_tokens":307,"completion_tokens":26,"total_tokens":560,'
        '"prompt_tokens_details":{"cached_tokens":306},"completion_tokens_details":{"reasoning_tokens":227}}}',
        Usage(input=307, cached=306, output=253, reasoning=227),
    ),
    Answer(
        "cache hits by another name (DeepSeek)",
        "openai-chat",
        JSON,
        '{"object":"chat.completion","choices":[],"usage":{"prompt_tokens":50,"completion_tokens":5,"total_tokens":55,'
        '"prompt_cache_hit_tokens":32,"prompt_cache_miss_tokens":18}}',
        Usage(input=50, cached=32, output=5),
    ),
    Answer(
        "cached tokens at the top of usage (Moonshot)",
        "openai-chat",
        JSON,
        '{"object":"chat.completion","choices":[],"usage":{"prompt_tokens":50,"completion_tokens":5,"total_tokens":55,'
        '"cached_tokens":20}}',
        Usage(input=50, cached=20, output=5),
    ),
    Answer(
        "usage said twice and counted once (Groq)",
        "openai-chat",
        SSE,
        """\
data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"a"}}],"x_groq":{"id":"req_1"}}

data: {"object":"chat.completion.chunk","choices":[],"x_groq":{"id":"req_1","usage":{"prompt_tokens":210,"completion_tokens":15,"total_tokens":225}},"usage":{"prompt_tokens":210,"completion_tokens":15,"total_tokens":225}}

data: [DONE]

""",
        Usage(input=210, output=15),
    ),
    Answer(
        "an error that is the document (Mistral)",
        "openai-chat",
        JSON,
        '{"object":"error","message":"Service unavailable.","type":"service_unavailable","param":null,"code":"3505"}',
        None,
        failed=True,
    ),
    Answer(
        "an error in the middle, and [DONE] all the same (vLLM)",
        "openai-chat",
        SSE,
        """\
data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"a"}}]}

data: {"error":{"object":"error","message":"engine died","type":"InternalServerError","code":500}}

data: [DONE]

""",
        None,
        failed=True,
    ),
)
