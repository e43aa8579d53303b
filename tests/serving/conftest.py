"""A tiny talkative model with vectors, and a server of it."""

from __future__ import annotations

import queue
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import uvicorn
from starlette.testclient import TestClient

import emosteer
from emosteer.serving import parse
from emosteer.serving.app import create_app
from emosteer.serving.engine import Ended, Engine
from emosteer.serving.rows import Job, Sampling
from tests.conftest import talkative, tiny_config

TONES = (
    "joy=1",
    "",
    '{"emotion": {"fear": 2}, "scope": "generated"}',
    '{"emotion": {"calm": 2}, "scope": "prompt"}',
    '{"emotion": {"calm": 2}, "schedule": {"ramp": 8}}',
    '{"emotion": {"fear": 2}, "schedule": {"window": [2, 6]}}',
    "joy=1,fear=-1",
    '{"emotion": {"joy": 2}, "schedule": {"decay": 3}}',
)


@pytest.fixture(scope="session")
def steered():
    model, tokenizer = talkative(tiny_config(max_position_embeddings=1024))
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"], seed=1)
    return emosteer.SteeredModel(model, tokenizer, vectors)


def job(steered, text, tone="", most=12, *, recipe=None, stops=(), **sampling):
    """A job that continues a text."""
    ids = steered.tokenizer(text)["input_ids"]
    return Job(ids, parse(tone), recipe, most, Sampling(**sampling), stops)


def alone(steered, text, tone="", most=12, **options):
    """The same, by `generate` of one row."""
    asked = parse(tone)
    how = {"scope": asked.scope, "schedule": asked.schedule, "max_new_tokens": most, **options}
    return steered.complete(text, emotion=asked.tone or None, details=True, **how)


class Heard:
    """What an engine tells of a job."""

    def __init__(self, engine, asked):
        self.events = queue.Queue()
        self.running = engine.submit(asked, self.events.put)

    def event(self):
        return self.events.get(timeout=60)

    def answer(self) -> tuple[str, Ended]:
        text = ""
        while not isinstance(event := self.event(), Ended):
            if isinstance(event, Exception):
                raise event
            text += event
        return text, event


@pytest.fixture
def client(steered):
    """A client of an application in this process."""
    with TestClient(create_app(Engine(steered), name="tiny")) as client:
        yield client


@contextmanager
def listening(app):
    """The address of a server on the loopback."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield SimpleNamespace(host="127.0.0.1", port=bound.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


def until(condition, seconds=30):
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
