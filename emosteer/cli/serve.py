"""The command serve: a server with a tone in every request."""

from __future__ import annotations

import socket
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from emosteer.cli import printing
from emosteer.cli.options import ModelOption, VectorsOption, parse_names, require_vectors, steered_model
from emosteer.errors import InputError, require

if TYPE_CHECKING:
    from starlette.applications import Starlette

LOOPBACK = "127.0.0.1"
GRACE = 5
"""Seconds that answers have to end in when the server is stopped."""

__all__ = ["serve"]


class EngineName(StrEnum):
    """What runs the model."""

    transformers = "transformers"


def serve(
    engine: Annotated[EngineName, typer.Option(help="What runs the model.")] = EngineName.transformers,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for other machines, too.")] = LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    model: ModelOption = "embedded",
    vectors: VectorsOption = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="EMOSTEER_API_KEY",
            help="What clients have to send as Authorization: Bearer KEY.",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Most answers that are written at once.")] = 16,
    queue: Annotated[int, typer.Option(min=1, help="Most requests that wait; more are told to ask again.")] = 64,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer that a request may ask for.")] = 4096,
    max_strength: Annotated[float, typer.Option(help="Largest strength of an emotion.")] = 10.0,
    allow: Annotated[
        str | None, typer.Option(help="Only these emotions, separated by commas.", show_default=False)
    ] = None,
    default: Annotated[
        str | None,
        typer.Option(help="Tone of requests that name none, as 'joy=0.5' or JSON.", show_default=False),
    ] = None,
) -> None:
    """Answer requests as OpenAI's server does, each in a tone of its own; on this machine only by default."""
    require("serve", "starlette", "uvicorn")
    require_vectors(model, vectors)
    from emosteer.serving import Rules, ToneRequest, parse

    names = parse_names(allow)
    rules = Rules(max_strength, names, parse(default) if default else ToneRequest())
    with _bound(host, port) as listening:
        from emosteer.serving.app import create_app
        from emosteer.serving.engine import Engine

        steered = steered_model(model, vectors)
        if unknown := [name for name in names or () if name not in steered.vectors.emotions]:
            raise InputError(f"The vectors have no emotion {unknown[0]!r:.60}.", "emosteer info lists them.")
        running = Engine(steered, rows=rows, queue=queue)
        app = create_app(running, name=model, api_key=api_key, rules=rules, most_tokens=max_tokens)
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        listening.listen()  # so that whoever reads the next line can connect
        printing.err.print(f"{engine.value} serves {model} at {address}/v1 (Ctrl-C ends it).", soft_wrap=True)
        if api_key is None and host not in (LOOPBACK, "::1", "localhost"):
            printing.note("Note", "Anyone who reaches this address can use the model: see --api-key.")
        _run(app, listening, connections=2 * (rows + queue))


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket at an address."""
    try:
        (family, *_, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise InputError(
            f"{host}, port {port} cannot be listened at ({error.strerror}).", "Name others with --host and --port."
        ) from error
    return listening


def _run(app: Starlette, listening: socket.socket, connections: int) -> None:
    """Serve until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(
        app, log_level="warning", limit_concurrency=connections, timeout_graceful_shutdown=GRACE, ws="none"
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listening])
    if not server.started:
        sys.exit(1)
