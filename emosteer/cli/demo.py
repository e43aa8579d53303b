"""The command demo: a page in which to try tones."""

from __future__ import annotations

import os
import socket
import sys
from typing import Annotated

import typer

from emosteer.cli import printing
from emosteer.cli.options import ModelOption, VectorsOption, require_vectors
from emosteer.errors import InputError, require

LOOPBACK = "127.0.0.1"

__all__ = ["demo"]


def demo(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0 takes any that is free.")] = 7860,
    model: ModelOption = "embedded",
    vectors: VectorsOption = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Offer the named endpoints as tools to other models.")] = False,
) -> None:
    """Open a page in which to try tones and see feelings, on this machine only."""
    require("demo", "gradio")
    if mcp:
        require("mcp", "mcp")
    require_vectors(model, vectors)
    free = _free_port(port)  # gradio would silently take another one nearby
    from emosteer.demo import Pair, build

    page = build(Pair(model, vectors))
    address = page.launch(server_name=LOOPBACK, server_port=free, mcp_server=mcp, quiet=True)
    printing.err.print(f"The demo is at {address} (Ctrl-C ends it). The model is being loaded.", soft_wrap=True)
    if mcp:
        printing.err.print(f"Its tools for other models (MCP) are at {address}gradio_api/mcp/", soft_wrap=True)
    page.page.block_thread()  # until Ctrl-C
    # Weights that are being read cannot be interrupted: Python would wait for them, or torch abort with a core dump.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _free_port(port: int) -> int:
    """Return the port, or any free one for 0."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
        except OSError as error:
            raise InputError(f"Port {port} cannot be used ({error.strerror}).", "Name another with --port.") from error
        return int(trial.getsockname()[1])
