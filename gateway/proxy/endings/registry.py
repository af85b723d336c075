"""The ending of each dialect."""

from __future__ import annotations

from collections.abc import Callable

from gateway.meters import METERS
from gateway.proxy.endings.anthropic_messages import AnthropicEnding
from gateway.proxy.endings.ending import Cut, Document, Ending
from gateway.proxy.endings.gemini import GeminiEnding, GeminiInteractionsEnding
from gateway.proxy.endings.openai_chat import OpenAIChatEnding
from gateway.proxy.endings.openai_responses import OpenAIResponsesEnding
from gateway.proxy.endings.others import CohereEnding, DifyEnding, OllamaEnding, OtherEnding, VercelDataEnding


class AutoEnding:
    """The ending of the dialect that the stream turns out to be."""

    def __init__(self) -> None:
        self._ending: Ending = OtherEnding()
        self._recognise = METERS["auto"].recognise

    @property
    def names_events(self) -> bool:
        return self._ending.names_events

    def note(self, document: bytes) -> None:
        if self._recognise is not None and (dialect := self._recognise(document)) is not None:
            self._recognise = None
            self._ending = ending_of(dialect.name)
        self._ending.note(document)

    def end(self, cut: Cut) -> list[Document]:
        return self._ending.end(cut)


#: By the name that a route's config gives the dialect. Dialects that are not here have `OtherEnding`.
ENDINGS: dict[str, Callable[[], Ending]] = {
    "openai-chat": OpenAIChatEnding,
    "openai-responses": OpenAIResponsesEnding,
    "anthropic-messages": AnthropicEnding,
    "gemini": GeminiEnding,
    "gemini-interactions": GeminiInteractionsEnding,
    "cohere": CohereEnding,
    "ollama": OllamaEnding,
    "dify": DifyEnding,
    "vercel-data": VercelDataEnding,
    "auto": AutoEnding,
}


def ending_of(dialect: str) -> Ending:
    """A new ending for a stream of this dialect."""
    return ENDINGS.get(dialect, OtherEnding)()
