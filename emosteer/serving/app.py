"""The server's HTTP side: OpenAI's routes for chat and completions, and emosteer's own."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from emosteer._util import strict_json
from emosteer.errors import EmosteerError, InputError, ToneError, require
from emosteer.models.generation import context_length
from emosteer.serving import body as bodies
from emosteer.serving.engine import BusyError, Engine
from emosteer.serving.listening import Listening, unless_gone
from emosteer.serving.metrics import FORMAT, Metrics
from emosteer.serving.replies import BROKEN, Reply, error
from emosteer.serving.request import Rules
from emosteer.steering.recipes import RECIPES
from emosteer.vectors.types import SCOPES

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

LARGEST_BODY = 2**20
SLOWEST_BODY = 30.0
"""Seconds in which a body has to arrive."""
MOST_TOKENS = 4096
"""Longest answer that a request may ask for, in tokens."""

__all__ = ["create_app"]


def create_app(
    engine: Engine,
    *,
    name: str,
    api_key: str | None = None,
    rules: Rules | None = None,
    most_tokens: int = MOST_TOKENS,
    largest_body: int = LARGEST_BODY,
    slowest_body: float = SLOWEST_BODY,
) -> Starlette:
    """Return the application of a server, which opens and closes the engine with itself.

    Args:
        engine: The engine, not yet open.
        name: What clients call the model.
        api_key: What clients must send for the routes under `/v1`, or None.
        rules: What the operator allows.
        most_tokens: Longest answer that a request may ask for.
        largest_body: Bytes of a request.
        slowest_body: Seconds in which they have to arrive.

    Raises:
        MissingExtraError: Starlette is not installed.
        ToneError: The rules' own tone cannot be given.
    """
    require("serve", "starlette")
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.requests import ClientDisconnect
    from starlette.routing import Route

    rules = rules or Rules()
    rules.check(rules.default, engine.steered.vectors.emotions)
    server = _Server(engine, name, rules, most_tokens, largest_body, slowest_body)

    @asynccontextmanager
    async def opened(_: Starlette) -> AsyncIterator[None]:
        with engine, server.reading:
            yield

    routes = [
        Route("/v1/chat/completions", server.chat, methods=["POST"]),
        Route("/v1/completions", server.completion, methods=["POST"]),
        Route("/v1/models", server.models, methods=["GET"]),
        Route("/v1/emosteer/emotions", server.emotions, methods=["GET"]),
        Route("/v1/emosteer/read", server.read, methods=["POST"]),
        Route("/health", server.health, methods=["GET"]),
        Route("/metrics", server.show_metrics, methods=["GET"]),
    ]
    handlers: Mapping[Any, Any] = {
        EmosteerError: server.refused,
        HTTPException: server.unknown,
        _RefusedError: server.unread,
        ClientDisconnect: server.gone,
        Exception: server.failed,
    }
    middleware = [Middleware(_Key, key=api_key, refused=server.error)] if api_key else []
    return Starlette(routes=routes, exception_handlers=handlers, middleware=middleware, lifespan=opened)


class _RefusedError(Exception):
    """A request that is refused before its body is understood."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Server:
    """The routes."""

    def __init__(
        self, engine: Engine, name: str, rules: Rules, most_tokens: int, largest_body: int, slowest_body: float
    ) -> None:
        self._engine, self._name, self._rules, self._most_tokens = engine, name, rules, most_tokens
        self._largest, self._slowest = largest_body, slowest_body
        self.metrics = Metrics()
        self.reading = ThreadPoolExecutor(1, "emosteer-reading")  # tokenizers are not made for several threads

    async def chat(self, request: Request) -> Response:
        return await self._answered(request, bodies.chat, chat=True)

    async def completion(self, request: Request) -> Response:
        return await self._answered(request, bodies.completion, chat=False)

    async def models(self, _: Request) -> Response:
        limit = min(context_length(self._engine.steered.model), 2**53)
        model = {"id": self._name, "object": "model", "created": 0, "owned_by": "emosteer", "max_model_len": limit}
        return _json({"object": "list", "data": [model]})

    async def emotions(self, _: Request) -> Response:
        vectors, allowed = self._engine.steered.vectors, self._rules.emotions
        info = {
            name: {
                "valence": vectors.info[name].valence,
                "arousal": vectors.info[name].arousal,
                "calibrated": name in vectors.doses,
            }
            for name in vectors.emotions
            if allowed is None or name in allowed
        }
        recipes = [name for name, recipe in RECIPES.items() if recipe.drafts == 1]
        told = {"emotions": info, "max_strength": self._rules.strength, "recipes": recipes, "scopes": list(SCOPES)}
        return _json({"model": self._name, **told})

    async def read(self, request: Request) -> Response:
        body = await self._body(request)
        if unknown := body.keys() - {"input", "model"}:
            raise InputError(f"There is no field {min(unknown)!r:.60} here.", "Known are: input, model.")
        text = body.get("input")
        if not isinstance(text, (str, list)):
            raise InputError(f"input is {text!r:.60}, expected a text or messages.", 'As {"input": "What joy!"}.')
        future = self._engine.call(lambda: self._engine.steered.read(text))
        return _json((await unless_gone(request, asyncio.wrap_future(future))).to_dict())

    async def health(self, _: Request) -> Response:
        alive = self._engine.alive
        return _json({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    async def show_metrics(self, _: Request) -> Response:
        from starlette.responses import Response

        gauges = {
            "queue_length": ("Requests that wait for a row.", float(self._engine.waiting)),
            "running": ("Answers that are being written.", float(self._engine.running)),
        }
        return Response(self.metrics.text(gauges), media_type=FORMAT)

    async def refused(self, _: Request, failure: Exception) -> Response:
        """Answer a request that cannot be served as it is, or not now."""
        if isinstance(failure, BusyError):
            status, code = (429, "queue_full") if self._engine.alive else (503, "stopped")
        else:
            status, code = 400, "invalid_tone" if isinstance(failure, ToneError) else "invalid_request"
        return self.error(status, str(failure), code)

    async def unread(self, _: Request, failure: Any) -> Response:
        """Answer a request whose body is not for this server, too large or too slow."""
        return self.error(failure.status, str(failure), failure.code)

    async def unknown(self, request: Request, failure: Any) -> Response:
        """Answer a request for what is not there."""
        messages = {
            404: ("not_found", f"There is nothing at {request.url.path[:100]!r}."),
            405: ("method_not_allowed", f"{request.method[:20]} is not for this address."),
        }
        code, message = messages.get(failure.status_code, ("invalid_request", str(failure.detail)))
        return self.error(failure.status_code, message, code, failure.headers)

    async def gone(self, *_: Any) -> Response:
        """Answer a client that has gone."""
        return self.error(499, "The client has closed the connection.", "gone")

    async def failed(self, *_: Any) -> Response:
        """Answer a request whose failure is the server's own; Starlette logs it."""
        return self.error(500, BROKEN, "internal_error")

    def error(self, status: int, message: str, code: str, headers: Mapping[str, str] | None = None) -> Response:
        self.metrics.count("rejected", [code])
        headers = {"Retry-After": "1"} if status in (429, 503) else headers
        return _json(error(status, message, code), status, headers)

    async def _answered(self, request: Request, understood: Callable[..., bodies.Asked], *, chat: bool) -> Response:
        body = await self._body(request)
        what = self._engine.steered, body, self._rules, self._most_tokens
        asked = await asyncio.get_running_loop().run_in_executor(self.reading, understood, *what)
        answer = Listening(self._engine, asked.job, self.metrics)
        reply = Reply(self._name, len(asked.job.prompt), chat=chat)
        try:
            await unless_gone(request, answer.begun())
            if asked.stream:
                return _streamed(reply.stream(answer, usage=asked.usage), answer.leave)
            return _json(await unless_gone(request, reply.whole(answer)))
        except BaseException:
            answer.leave()
            raise

    async def _body(self, request: Request) -> dict[str, Any]:
        """Return the body of a request, an object that asks this model for something."""
        data = bytearray()
        try:
            async with asyncio.timeout(self._slowest):
                async for chunk in request.stream():
                    data += chunk
                    if len(data) > self._largest:
                        raise _RefusedError(413, f"The body is larger than {self._largest} bytes.", "too_large")
        except TimeoutError:
            raise _RefusedError(408, f"The body took longer than {self._slowest:g} seconds.", "too_slow") from None
        try:
            body = strict_json.loads(bytes(data))
        except ValueError as problem:
            raise InputError(f"The body is no JSON: {problem}.") from None
        if not isinstance(body, dict):
            raise InputError(f"The body is {body!r:.60}, expected an object.")
        if (model := body.get("model")) not in (None, self._name):
            raise _RefusedError(404, f"There is no model {model!r:.60} here, only {self._name!r}.", "model_not_found")
        return body


class _Key:
    """Lets only those to the routes under `/v1` who have the key."""

    def __init__(self, app: ASGIApp, key: str, refused: Callable[[int, str, str, Any], Response]) -> None:
        self._app, self._refused = app, refused
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1"):
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                message = "The key is missing or wrong: send the header Authorization: Bearer KEY."
                response = self._refused(401, message, "invalid_api_key", {"WWW-Authenticate": "Bearer"})
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _json(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    from starlette.responses import Response

    return Response(strict_json.canonical(data), status, headers, "application/json")


def _streamed(pieces: AsyncIterator[str], closed: Callable[[], None]) -> Response:
    """Return a response of server-sent events, after which a function is called, however it ends."""
    from starlette.responses import StreamingResponse

    class Streamed(StreamingResponse):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await super().__call__(scope, receive, send)
            finally:
                closed()

    return Streamed(pieces, headers={"Cache-Control": "no-cache"}, media_type="text/event-stream")
