"""Answers of Dify, Ollama, the AI SDK, and of apps whose config names a path."""
# ruff: noqa: E501  An event is one line, as it is on the wire.

from __future__ import annotations

from gateway.domain.usage import Usage
from tests.meters.answers.answer import JSON, NDJSON, SSE, TEXT, Answer

_DIFY_USAGE = (
    '{"prompt_tokens": 1033, "prompt_unit_price": "0.001", "prompt_price": "0.0010330", "completion_tokens": 128, '
    '"completion_price": "0.0002560", "total_tokens": 1161, "total_price": "0.0012890", "currency": "USD", '
    '"latency": 0.76}'
)
_DIFY_MESSAGE = 'data: {"event": "message", "task_id": "t", "message_id": "m", "answer": " Hi", "created_at": 1}\n\n'
_DIFY_MESSAGE_END = (
    'data: {"event": "message_end", "task_id": "t", "id": "m", "metadata": {"usage": ' + _DIFY_USAGE + "}}\n\n"
)
_DIFY_WORKFLOW_FINISHED = (
    'data: {"event": "workflow_finished", "task_id": "t", "workflow_run_id": "r", "data": {"id": "r", "status": '
    '"succeeded", "outputs": {"answer": " Hi"}, "error": null, "elapsed_time": 1.3, "total_tokens": 1161}}\n\n'
)
DIFY = (
    Answer(
        "a blocking chat",
        "dify",
        JSON,
        '{"event": "message", "task_id": "t", "mode": "chat", "answer": "Hi", "metadata": {"usage": '
        + _DIFY_USAGE
        + ', "retriever_resources": []}, "created_at": 1705407629}',
        Usage(input=1033, output=128),
    ),
    Answer(
        "a chatflow stream, which says it twice",
        "dify",
        SSE,
        "event: ping\n\n" + _DIFY_MESSAGE + _DIFY_MESSAGE_END + _DIFY_WORKFLOW_FINISHED,
        Usage(input=1033, output=128),
    ),
    Answer(
        "a chatflow stream, which says it twice the other way round",
        "dify",
        SSE,
        _DIFY_MESSAGE + _DIFY_WORKFLOW_FINISHED + _DIFY_MESSAGE_END,
        Usage(input=1033, output=128),
    ),
    Answer(
        "a workflow stream",
        "dify",
        SSE,
        'data: {"event": "text_chunk", "workflow_run_id": "r", "data": {"text": "Hi"}}\n\n' + _DIFY_WORKFLOW_FINISHED,
        Usage(output=1161),
    ),
    Answer(
        "a blocking workflow",
        "dify",
        JSON,
        '{"workflow_run_id": "r", "task_id": "t", "data": {"id": "r", "status": "succeeded", "outputs": {"text": "Hi"}, '
        '"error": null, "total_tokens": 3562}}',
        Usage(output=3562),
    ),
    Answer(
        "usage of nothing but zeros",
        "dify",
        SSE,
        _DIFY_MESSAGE
        + 'data: {"event": "message_end", "id": "m", "metadata": {"usage": {"prompt_tokens": 0, "completion_tokens": 0, '
        '"total_tokens": 0, "total_price": "0"}}}\n\n',
        None,
    ),
    Answer(
        "an error in a stream",
        "dify",
        SSE,
        _DIFY_MESSAGE
        + 'data: {"event": "error", "status": 400, "code": "completion_request_error", "message": "no"}\n\n',
        None,
        failed=True,
    ),
    Answer(
        "a workflow that failed before it used anything",
        "dify",
        SSE,
        'data: {"event": "workflow_finished", "workflow_run_id": "r", "data": {"status": "failed", "error": "no", '
        '"total_tokens": 0}}\n\n',
        None,
        failed=True,
    ),
)

OLLAMA = (
    Answer(
        "a chat stream",
        "ollama",
        NDJSON,
        """\
{"model":"llama3.2","created_at":"2026-08-04T08:52:19Z","message":{"role":"assistant","content":"Hi"},"done":false}
{"model":"llama3.2","created_at":"2026-08-04T19:22:45Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":48,"prompt_eval_count":26,"prompt_eval_duration":3,"eval_count":298}
""",
        Usage(input=26, output=298),
    ),
    Answer(
        "a generated text, in one body",
        "ollama",
        JSON,
        '{"model":"llama3.2","response":"Hi","done":true,"prompt_eval_count":26,"eval_count":290}',
        Usage(input=26, output=290),
    ),
    Answer(
        "a count of zero left out",
        "ollama",
        NDJSON,
        '{"model":"llama3.2","response":"Hi","done":true,"eval_count":290}\n',
        Usage(output=290),
    ),
    Answer(
        "an error in a stream",
        "ollama",
        NDJSON,
        '{"model":"llama3.2","response":"Hi","done":false}\n{"error":"an error was encountered while running the model"}\n',
        None,
        failed=True,
    ),
)

VERCEL_DATA = (
    Answer(
        "a message of two steps",
        "vercel-data",
        TEXT,
        """\
f:{"messageId":"msg-1"}
0:"d:{\\"usage\\":"
e:{"finishReason":"tool-calls","usage":{"promptTokens":10,"completionTokens":20},"isContinued":false}
0:" world"
e:{"finishReason":"stop","usage":{"promptTokens":5,"completionTokens":7},"isContinued":false}
d:{"finishReason":"stop","usage":{"promptTokens":15,"completionTokens":27}}
""",
        Usage(input=15, output=27),
    ),
    Answer(
        "a step, which is not yet the message",
        "vercel-data",
        TEXT,
        '0:"Hi"\ne:{"finishReason":"tool-calls","usage":{"promptTokens":10,"completionTokens":20},"isContinued":true}\n',
        None,
    ),
    Answer(
        "usage that the provider did not give",
        "vercel-data",
        TEXT,
        '0:"Hi"\nd:{"finishReason":"stop","usage":{"promptTokens":null,"completionTokens":null}}\n',
        None,
    ),
    Answer(
        "an error part",
        "vercel-data",
        TEXT,
        '0:"at 3:\\"00\\""\n3:"An error occurred."\n',
        None,
        failed=True,
    ),
)

JSON_PATH = (
    Answer(
        "an app's own metadata in the AI SDK's message stream",
        "path",
        SSE,
        """\
data: {"type":"start","messageId":"1"}

data: {"type":"text-delta","id":"0","delta":"Hi"}

data: {"type":"finish","messageMetadata":{"usage":{"inputTokens":9,"outputTokens":4,"totalTokens":13,"cachedInputTokens":3}}}

data: [DONE]

""",
        Usage(input=9, cached=3, output=4),
        usage_path="messageMetadata.usage",
    ),
    Answer(
        "a number, which is a total and counts as output",
        "path",
        JSON,
        '{"reply":"Hi","cost":{"tokens":41.2}}',
        Usage(output=42),
        usage_path="cost.tokens",
    ),
    Answer(
        "an element of an array, in lines, the last hit winning",
        "path",
        NDJSON,
        '{"runs":[{"used":{"prompt_tokens":1,"completion_tokens":2}}]}\n'
        '{"runs":[{"used":{"prompt_tokens":3,"completion_tokens":4}}]}\n{"runs":[]}\n',
        Usage(input=3, output=4),
        usage_path="runs.0.used",
    ),
    Answer(
        "an error of no dialect",
        "path",
        SSE,
        'event: oops\ndata: {"type":"error","errorText":"no"}\n\n',
        None,
        failed=True,
        usage_path="messageMetadata.usage",
    ),
)
