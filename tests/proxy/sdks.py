"""The official Python SDKs reading a given stream: what each makes of it, or the exception that it raises. They take
seconds to import, so each is imported by the function that needs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx2

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def _answering(body: bytes, content_type: str = "text/event-stream") -> httpx2.MockTransport:
    return httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers={"content-type": content_type}, content=body)
    )


def read_openai_chat(body: bytes) -> dict[int, str | None]:
    """Why each choice finished."""
    import openai

    asked: Any = {"model": "m", "messages": HELLO}
    finished: dict[int, str | None] = {}
    with openai.OpenAI(api_key="k", base_url="http://g/v1", http_client=httpx2.Client(transport=_answering(body))) as c:
        for chunk in c.chat.completions.create(**asked, stream=True):
            for choice in chunk.choices:
                finished[choice.index] = choice.finish_reason or finished.get(choice.index)
    return finished


def help_with_openai_chat(body: bytes) -> None:
    """By the helper that accumulates the answer, in both of its kinds."""
    import openai

    asked: Any = {"model": "m", "messages": HELLO}
    http = httpx2.Client(transport=_answering(body))
    with (
        openai.OpenAI(api_key="k", base_url="http://g/v1", http_client=http) as client,
        client.chat.completions.stream(**asked) as stream,
    ):
        for _ in stream:
            pass
    asyncio.run(_help_with_openai_chat_async(body, asked))


async def _help_with_openai_chat_async(body: bytes, asked: Any) -> None:
    import openai

    http = httpx2.AsyncClient(transport=_answering(body))
    async with (
        openai.AsyncOpenAI(api_key="k", base_url="http://g/v1", http_client=http) as client,
        client.chat.completions.stream(**asked) as stream,
    ):
        async for _ in stream:
            pass


def read_openai_responses(body: bytes) -> Any:
    """The last response."""
    import openai

    last: Any = None
    sequence = -1
    with openai.OpenAI(api_key="k", base_url="http://g/v1", http_client=httpx2.Client(transport=_answering(body))) as c:
        for event in c.responses.create(model="m", input="hi", stream=True):
            assert event.sequence_number > sequence
            sequence, last = event.sequence_number, event
    assert last.type == "response.incomplete"
    return last.response


def help_with_openai_responses(body: bytes) -> None:
    """By the helper that accumulates the response."""
    import openai

    http = httpx2.Client(transport=_answering(body))
    with (
        openai.OpenAI(api_key="k", base_url="http://g/v1", http_client=http) as client,
        client.responses.stream(model="m", input="hi") as stream,
    ):
        for _ in stream:
            pass


def read_anthropic(body: bytes) -> Any:
    """The final message of the helper."""
    import anthropic

    http = httpx2.Client(transport=_answering(body))
    with (
        anthropic.Anthropic(api_key="k", base_url="http://g", http_client=http) as client,
        client.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream,
    ):
        for _ in stream:
            pass
        return stream.get_final_message()


def read_gemini(body: bytes) -> Any:
    """The last chunk."""
    from google import genai
    from google.genai import types

    options = types.HttpOptions(base_url="http://g", httpx_client=httpx2.Client(transport=_answering(body)))
    client = genai.Client(api_key="k", http_options=options)
    return list(client.models.generate_content_stream(model="m", contents="hi"))[-1]


def events_of(body: bytes) -> list[Any]:
    """The JSON of a stream whose events have one data line each."""
    assert body.endswith(b"\n\n")
    lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def read_interaction(body: bytes) -> Any:
    """The interaction as it ended. Every step that started has stopped."""
    from google.genai import interactions

    *_, last = events = events_of(body)
    kinds = [event["event_type"] for event in events]
    assert kinds.count("step.start") == kinds.count("step.stop")
    assert last["event_type"] == "interaction.completed"
    assert interactions is not None
    return last["interaction"]


def read_cohere(body: bytes) -> Any:
    """The message's end. Every content that started has ended."""
    *_, last = events = events_of(body)
    kinds = [event["type"] for event in events]
    assert kinds.count("content-start") == kinds.count("content-end")
    assert last["type"] == "message-end"
    return last["delta"]


def openai_chat_is_cut(body: bytes) -> None:
    assert body.endswith(b"data: [DONE]\n\n")
    assert all(read_openai_chat(body).values())


def openai_response_is_cut(body: bytes) -> None:
    response = read_openai_responses(body)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.usage.total_tokens == 35


def anthropic_is_cut(body: bytes) -> None:
    message = read_anthropic(body)
    assert message.stop_reason is not None
    kinds = [event["type"] for event in events_of(body)]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop")
    assert kinds.count("message_start") == kinds.count("message_delta") == kinds.count("message_stop")
    assert kinds[-1] == "message_stop"


def gemini_is_cut(body: bytes) -> None:
    last = read_gemini(body)
    assert last.usage_metadata.total_token_count == 35
    assert all(candidate.finish_reason == "MAX_TOKENS" for candidate in last.candidates or [])


def interaction_is_cut(body: bytes) -> None:
    assert read_interaction(body)["status"] == "incomplete"


def cohere_is_cut(body: bytes) -> None:
    assert read_cohere(body)["finish_reason"] == "MAX_TOKENS"


#: By dialect: asserts that a stream which was cut at a usage of 12 and 23 tokens is well-formed.
WELL_FORMED: dict[str, Callable[[bytes], None]] = {
    "openai-chat": openai_chat_is_cut,
    "openai-responses": openai_response_is_cut,
    "anthropic-messages": anthropic_is_cut,
    "gemini": gemini_is_cut,
    "gemini-interactions": interaction_is_cut,
    "cohere": cohere_is_cut,
}

#: By dialect: reads a stream with a helper of an SDK that is choosier than its plain stream.
HELPERS: dict[str, Callable[[bytes], None]] = {
    "openai-chat": help_with_openai_chat,
    "openai-responses": help_with_openai_responses,
}


def helps(dialect: str, body: bytes) -> bool:
    """True when the helper reads this stream: it does not read every provider's."""
    try:
        HELPERS[dialect](body)
    except Exception:  # noqa: BLE001  whatever it is that it does not like
        return False
    return True
