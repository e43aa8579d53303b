"""Replies in OpenAI's form: whole, in pieces, and as errors."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from emosteer._util import strict_json
from emosteer.errors import EmosteerError
from emosteer.serving.engine import Ended, Event

TYPES = {401: "authentication_error", 408: "timeout_error", 429: "rate_limit_error"}
BROKEN = "Something went wrong with this request, which the server's log tells of."

__all__ = ["BROKEN", "Reply", "error"]

_log = logging.getLogger(__name__)


def error(status: int, message: str, code: str) -> dict[str, Any]:
    """Return an error in OpenAI's form."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


class Reply:
    """The reply to one request.

    Args:
        name: What clients call the model.
        prompt: Tokens of the prompt.
        chat: Whether it answers messages, or continues a text.
    """

    def __init__(self, name: str, prompt: int, *, chat: bool) -> None:
        self._chat, self._prompt = chat, prompt
        self._kind = "chat.completion" if chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": name,
        }

    async def whole(self, events: AsyncIterator[Event]) -> dict[str, Any]:
        """Return the reply once the answer has ended."""
        text, end = "", Ended("stop", 0)
        async for event in events:
            if isinstance(event, Ended):
                end = event
            else:
                text += str(event)
        part = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        choice = {"index": 0, **part, "logprobs": None, "finish_reason": end.reason}
        return {**self._head, "object": self._kind, "choices": [choice], "usage": self._usage(end)}

    async def stream(self, events: AsyncIterator[Event], *, usage: bool) -> AsyncIterator[str]:
        """Yield the reply as server-sent events, a last one with the usage if it is wanted."""
        told = {"usage": None} if usage else {}
        if self._chat:
            yield self._chunk({"delta": {"role": "assistant", "content": ""}}, None, told)
        try:
            async for event in events:
                if isinstance(event, Ended):
                    yield self._chunk({"delta": {}} if self._chat else {"text": ""}, event.reason, told)
                    if usage:
                        yield self._line({**self._part(), "choices": [], "usage": self._usage(event)})
                else:
                    yield self._chunk({"delta": {"content": event}} if self._chat else {"text": event}, None, told)
        except EmosteerError as failure:
            yield self._line(error(503, str(failure), "stopped"))
        except Exception:
            _log.exception("A stream broke off.")
            yield self._line(error(500, BROKEN, "internal_error"))
        yield "data: [DONE]\n\n"

    def _chunk(self, part: dict[str, Any], reason: str | None, told: dict[str, Any]) -> str:
        choice = {"index": 0, **part, "logprobs": None, "finish_reason": reason}
        return self._line({**self._part(), "choices": [choice], **told})

    def _part(self) -> dict[str, Any]:
        return {**self._head, "object": f"{self._kind}.chunk" if self._chat else self._kind}

    def _line(self, data: dict[str, Any]) -> str:
        return f"data: {strict_json.canonical(data)}\n\n"

    def _usage(self, end: Ended) -> dict[str, int]:
        return {
            "prompt_tokens": self._prompt,
            "completion_tokens": end.tokens,
            "total_tokens": self._prompt + end.tokens,
        }
