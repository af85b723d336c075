"""Small answers in every dialect, written by hand, each with what it must yield."""

from __future__ import annotations

from tests.meters.answers.answer import JSON, NDJSON, SSE, TEXT, Answer
from tests.meters.answers.apps import DIFY, JSON_PATH, OLLAMA, VERCEL_DATA
from tests.meters.answers.openai_chat import OPENAI_CHAT
from tests.meters.answers.openai_other import OPENAI_OTHER, OPENAI_RESPONSES
from tests.meters.answers.providers import ANTHROPIC_MESSAGES, COHERE, GEMINI, GEMINI_INTERACTIONS

__all__ = ["ANSWERS", "JSON", "NDJSON", "SSE", "TEXT", "Answer"]

ANSWERS = (
    *OPENAI_CHAT,
    *OPENAI_RESPONSES,
    *OPENAI_OTHER,
    *ANTHROPIC_MESSAGES,
    *GEMINI,
    *GEMINI_INTERACTIONS,
    *COHERE,
    *DIFY,
    *OLLAMA,
    *VERCEL_DATA,
    *JSON_PATH,
)
