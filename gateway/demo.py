"""The demo backend: answers like OpenAI, Anthropic, Gemini, Dify and Ollama, from a few sentences of its own.

For `make run` without an upstream, and for trying clients. It counts tokens as words, and reports them as each dialect
does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

#: Between two words of a stream.
PACE_S = 0.02

_serial = count(1)


async def openai_chat(request: Request) -> Response:
    asked = await request.json()
    words, usage = _answer(asked, asked.get("max_completion_tokens") or asked.get("max_tokens"))
    base = {"id": f"chatcmpl-demo{next(_serial)}", "created": int(time.time()), "model": asked.get("model", "demo")}
    reported = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse(base | {"object": "chat.completion", "choices": [choice], "usage": reported})

    async def stream() -> AsyncIterator[bytes]:
        chunk = base | {"object": "chat.completion.chunk"}
        async for word in _paced(words):
            yield _sse(chunk | {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
        yield _sse(chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if (asked.get("stream_options") or {}).get("include_usage"):
            yield _sse(chunk | {"choices": [], "usage": reported})
        yield b"data: [DONE]\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


async def openai_responses(request: Request) -> Response:
    asked = await request.json()
    words, usage = _answer(asked, asked.get("max_output_tokens"))
    part = {"type": "output_text", "text": "".join(words), "annotations": []}
    item = {"type": "message", "id": "msg_demo", "role": "assistant", "status": "completed", "content": [part]}
    answer = {
        "id": f"resp_demo{next(_serial)}", "object": "response", "created_at": int(time.time()), "status": "completed",
        "model": asked.get("model", "demo"), "output": [item], "parallel_tool_calls": True, "tool_choice": "auto",
        "tools": [], "usage": {
            "input_tokens": usage[0], "input_tokens_details": {"cached_tokens": 0}, "output_tokens": usage[1],
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": sum(usage),
        },
    }  # fmt: skip
    if not asked.get("stream"):
        return JSONResponse(answer)

    async def stream() -> AsyncIterator[bytes]:
        async for word in _paced(words):
            delta = {"type": "response.output_text.delta", "item_id": "msg_demo", "output_index": 0, "content_index": 0}
            yield _sse(delta | {"delta": word}, "response.output_text.delta")
        yield _sse({"type": "response.completed", "response": answer}, "response.completed")

    return StreamingResponse(stream(), media_type="text/event-stream")


async def openai_embeddings(request: Request) -> Response:
    asked = await request.json()
    inputs = asked["input"] if isinstance(asked.get("input"), list) else [asked.get("input", "")]
    tokens = sum(_tokens(str(text)) for text in inputs)
    data = [{"object": "embedding", "index": n, "embedding": [0.1, 0.2, 0.3]} for n, _ in enumerate(inputs)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": asked.get("model", "demo"), "usage": usage})


async def openai_models(request: Request) -> Response:
    return JSONResponse(
        {"object": "list", "data": [{"id": "demo", "object": "model", "created": 0, "owned_by": "demo"}]}
    )


async def anthropic_messages(request: Request) -> Response:
    asked = await request.json()
    words, usage = _answer(asked, asked.get("max_tokens"))
    message: dict[str, Any] = {
        "id": f"msg_demo{next(_serial)}", "type": "message", "role": "assistant", "model": asked.get("model", "demo"),
        "content": [{"type": "text", "text": "".join(words)}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": usage[0], "output_tokens": usage[1]},
    }  # fmt: skip
    if not asked.get("stream"):
        return JSONResponse(message)

    async def stream() -> AsyncIterator[bytes]:
        begun = message | {"content": [], "stop_reason": None, "usage": {"input_tokens": usage[0], "output_tokens": 1}}
        yield _sse({"type": "message_start", "message": begun}, "message_start")
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        yield _sse(block, "content_block_start")
        async for word in _paced(words):
            delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
            yield _sse(delta, "content_block_delta")
        yield _sse({"type": "content_block_stop", "index": 0}, "content_block_stop")
        ended = {"stop_reason": "end_turn", "stop_sequence": None}
        yield _sse({"type": "message_delta", "delta": ended, "usage": {"output_tokens": usage[1]}}, "message_delta")
        yield _sse({"type": "message_stop"}, "message_stop")

    return StreamingResponse(stream(), media_type="text/event-stream")


async def gemini(request: Request) -> Response:
    asked = await request.json()
    words, usage = _answer(asked, (asked.get("generationConfig") or {}).get("maxOutputTokens"))
    used = {"promptTokenCount": usage[0], "candidatesTokenCount": usage[1], "totalTokenCount": sum(usage)}

    def chunk(text: str, **more: Any) -> dict[str, Any]:
        return {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}, **more}]}

    if not request.url.path.endswith(":streamGenerateContent"):
        return JSONResponse(chunk("".join(words), finishReason="STOP") | {"usageMetadata": used})

    async def stream() -> AsyncIterator[bytes]:
        async for word in _paced(words):
            yield _sse(chunk(word))
        yield _sse(chunk("", finishReason="STOP") | {"usageMetadata": used})

    return StreamingResponse(stream(), media_type="text/event-stream")


async def dify_chat(request: Request) -> Response:
    asked = await request.json()
    words, (prompt, completion) = _answer(asked, None)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
             "total_price": "0.0", "currency": "USD"}  # fmt: skip
    ids = {"task_id": f"task-demo{next(_serial)}", "message_id": "demo", "conversation_id": "demo"}
    if asked.get("response_mode") != "streaming":
        return JSONResponse(ids | {"event": "message", "answer": "".join(words), "metadata": {"usage": usage}})

    async def stream() -> AsyncIterator[bytes]:
        async for word in _paced(words):
            yield _sse(ids | {"event": "message", "answer": word})
        yield _sse(ids | {"event": "message_end", "metadata": {"usage": usage}})

    return StreamingResponse(stream(), media_type="text/event-stream")


async def dify_workflow(request: Request) -> Response:
    asked = await request.json()
    words, usage = _answer(asked, None)
    data = {"status": "succeeded", "outputs": {"text": "".join(words)}, "total_tokens": sum(usage)}
    answer = {"task_id": "demo", "workflow_run_id": f"run-demo{next(_serial)}", "data": data}
    if asked.get("response_mode") != "streaming":
        return JSONResponse(answer)

    async def stream() -> AsyncIterator[bytes]:
        yield _sse(answer | {"event": "workflow_started", "data": {}})
        yield _sse(answer | {"event": "workflow_finished"})

    return StreamingResponse(stream(), media_type="text/event-stream")


async def ollama_chat(request: Request) -> Response:
    asked = await request.json()
    words, usage = _answer(asked, (asked.get("options") or {}).get("num_predict"))
    base = {"model": asked.get("model", "demo"), "created_at": "2026-01-01T00:00:00Z"}
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": usage[0], "eval_count": usage[1]}
    if asked.get("stream") is False:
        return JSONResponse(base | end | {"message": {"role": "assistant", "content": "".join(words)}})

    async def stream() -> AsyncIterator[bytes]:
        async for word in _paced(words):
            yield json.dumps(base | {"message": {"role": "assistant", "content": word}, "done": False}).encode() + b"\n"
        yield json.dumps(base | end | {"message": {"role": "assistant", "content": ""}}).encode() + b"\n"

    return StreamingResponse(stream(), media_type="application/x-ndjson")


async def not_there(request: Request, exc: Exception) -> Response:
    return JSONResponse({"error": {"message": f"the demo backend does not serve {request.url.path}"}}, 404)


async def not_json(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": {"message": "the demo backend reads one JSON object", "param": None}}, 400)


app = Starlette(
    routes=[
        Route("/v1/chat/completions", openai_chat, methods=["POST"]),
        Route("/v1/responses", openai_responses, methods=["POST"]),
        Route("/v1/embeddings", openai_embeddings, methods=["POST"]),
        Route("/v1/models", openai_models),
        Route("/v1/messages", anthropic_messages, methods=["POST"]),
        Route("/v1beta/models/{call:path}", gemini, methods=["POST"]),
        Route("/v1/chat-messages", dify_chat, methods=["POST"]),
        Route("/v1/workflows/run", dify_workflow, methods=["POST"]),
        Route("/api/chat", ollama_chat, methods=["POST"]),
    ],
    exception_handlers={404: not_there, ValueError: not_json},
)

_SENTENCE = (
    "Hello from the demo backend. Quotagate held what this call may cost before it came here, counts what you read "
    "now, and settles it to the unit. Put your own backend in my place: set UPSTREAM_URL and start again."
)


def _answer(asked: dict[str, Any], limit: Any) -> tuple[list[str], tuple[int, int]]:
    """The words to say, cut at the request's own limit, and (input, output) tokens."""
    words = [word + " " for word in _SENTENCE.split(" ")]
    if isinstance(limit, int) and limit > 0:
        words = words[:limit]
    said = {key: asked[key] for key in ("messages", "input", "contents", "query", "inputs", "system") if key in asked}
    return words, (_tokens(json.dumps(said)), len(words))


def _tokens(text: str) -> int:
    return max(1, len(text) // 4)


async def _paced(words: list[str]) -> AsyncIterator[str]:
    for word in words:
        yield word
        await asyncio.sleep(PACE_S)


def _sse(data: dict[str, Any], event: str | None = None) -> bytes:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def main() -> None:
    """`python -m gateway.demo --port N`: serves on loopback."""
    import uvicorn

    parser = argparse.ArgumentParser(prog="python -m gateway.demo")
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port, log_level="warning")


if __name__ == "__main__":
    main()
