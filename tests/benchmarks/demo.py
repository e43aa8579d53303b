"""How long a visitor of the demo waits.

Imports gradio with and without the type stubs that it makes for editors. Starts `emosteer demo` as a user does and asks
it through the named API: seconds from the start of the process until the page is served, the emotions are listed, the
first token is answered and a text is read; until the first piece of an answer in two voices, and tokens a second of
both; and, with several visitors at once, when the first and the last of them has his answer. They wait in one line.

    python -m tests.benchmarks.demo [--visitors 6] [--tokens 40]
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from gradio_client import Client

from emosteer import embedded
from tests.benchmarks.report import show

ASKED = {"messages": [{"role": "user", "content": "How was your day?"}], "emotion": {"joy": 1.0}}


def measure(visitors: int, tokens: int) -> list[dict]:
    """One row a time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    started = time.monotonic()
    server = subprocess.Popen([sys.executable, "-m", "emosteer", "demo", "--port", str(port)])
    try:
        page = _served(address, server) - started
        client = _client(address)
        client.predict(api_name="/list_emotions")
        listed = time.monotonic() - started
        client.predict("Hi", max_new_tokens=1, api_name="/make_reply")
        ready = time.monotonic() - started
        client.predict("Hello.", api_name="/read_emotion")  # the readout is fitted meanwhile, and takes a core
        reading = time.monotonic() - started
        first, last, said = _visit(client, tokens)
        clients = [_client(address) for _ in range(visitors)]
        begun = time.monotonic()
        with ThreadPoolExecutor(visitors) as at_once:
            ended = list(at_once.map(lambda one: _visit(one, tokens) and time.monotonic() - begun, clients))
    finally:
        server.terminate()
        server.wait(60)
    count, (whole, spared) = _counter(), _imports()
    return [
        {"what": "import of gradio", "value": whole, "unit": "s"},
        {"what": "the same without its type stubs", "value": spared, "unit": "s"},
        {"what": "start to the page served", "value": page, "unit": "s"},
        {"what": "start to the emotions listed", "value": listed, "unit": "s"},
        {"what": "start to the first token answered", "value": ready, "unit": "s"},
        {"what": "start to a text read", "value": reading, "unit": "s"},
        {"what": "one visitor: first piece", "value": first, "unit": "s"},
        {"what": "one visitor: whole answer", "value": last, "unit": "s"},
        {"what": "one visitor: both voices", "value": sum(map(count, said.values())) / last, "unit": "tokens/s"},
        {"what": f"{visitors} visitors: first whole answer", "value": min(ended), "unit": "s"},
        {"what": f"{visitors} visitors: last whole answer", "value": max(ended), "unit": "s"},
    ]


def _imports(repeats: int = 3) -> tuple[float, float]:
    """Seconds that a process needs to import gradio as it is, and as the demo does: medians, one after the other."""
    quick = Path(__file__).parents[2] / "emosteer" / "demo" / "quick.py"
    codes = ("import gradio", f"import runpy; runpy.run_path({str(quick)!r}); import gradio")
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for code, seconds in zip(codes, taken, strict=True):
            begun = time.monotonic()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds.append(time.monotonic() - begun)
    return statistics.median(taken[0]), statistics.median(taken[1])


def _served(address: str, server: subprocess.Popen) -> float:
    """When the page is there."""
    with httpx.Client() as asking:
        while server.poll() is None:
            try:
                asking.get(address).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return time.monotonic()
    raise SystemExit("The demo ended before it was served.")


def _client(address: str) -> Client:
    return Client(address, verbose=False, analytics_enabled=False, download_files=False)


def _visit(client: Client, tokens: int) -> tuple[float, float, dict[str, str]]:
    """Seconds to the first piece and to the end of an answer in two voices, and what they said."""
    begun = time.monotonic()
    said = client.submit(**ASKED, max_new_tokens=tokens, api_name="/two_voices")
    next(said)
    first = time.monotonic() - begun
    *_, whole = said
    return first, time.monotonic() - begun, whole


def _counter() -> Callable[[str], int]:
    """Tokens of a text."""
    _, tokenizer = embedded.load()
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--visitors", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=40)
    options = parser.parse_args()
    rows = measure(options.visitors, options.tokens)
    show("How long a visitor of the demo waits", rows, visitors=options.visitors, tokens=options.tokens)
