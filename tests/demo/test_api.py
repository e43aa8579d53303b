"""The named API as programs call it: served in a process of its own, asked by `gradio_client` and by an MCP client.

In this process gradio's own warnings would be errors, inside its server.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import Barrier
from typing import Any

import httpx
import pytest
import torch
from gradio_client import Client
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from emosteer import Affect
from emosteer.errors import EmosteerError

TOKENS = 12
SAMPLING = {"do_sample": True, "temperature": 0.8, "max_new_tokens": TOKENS}
NAMES = {"make_reply", "two_voices", "read_emotion", "list_emotions"}


@dataclass(frozen=True)
class User:
    """What one user asks for; each another tone and another seed."""

    prompt: str
    emotion: str
    strength: float
    seed: int

    @property
    def alone(self) -> dict[str, Any]:
        """For make_reply."""
        asked = {"prompt": self.prompt, "emotion": self.emotion, "strength": self.strength, "seed": self.seed}
        return {**asked, "max_new_tokens": TOKENS, "api_name": "/make_reply"}

    @property
    def both(self) -> dict[str, Any]:
        """For two_voices."""
        asked = {"messages": said(self.prompt), "emotion": {self.emotion: self.strength}, "seed": self.seed}
        return {**asked, "temperature": 0.8, "max_new_tokens": TOKENS, "api_name": "/two_voices"}


USERS = (
    User("How was your day?", "joy", 1.0, 0),
    User("How was your day?", "sadness", 1.0, 1),
    User("What is in the box?", "fear", 1.2, 2),
    User("Tell me about your town.", "anger", 0.8, 3),
    User("What is in the box?", "joy", -0.5, 4),
    User("Shall we go for a walk?", "calm", 0.7, 5),
)


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@contextmanager
def serving(log, *command: str, **streams):
    """A server in a process of its own: where it is, as soon as it answers, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    with log.open("w") as lines:
        server = subprocess.Popen([sys.executable, *command, str(port)], stderr=lines, text=True, **streams)
    try:
        until = time.monotonic() + 60
        while not answers(address):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
        yield address, server
    finally:
        server.terminate()
        server.communicate(timeout=60)
    assert "Traceback" not in log.read_text()


def answers(address: str) -> bool:
    try:
        return httpx.get(address).is_success
    except httpx.TransportError:
        return False


def visitor(address: str) -> Client:
    return Client(address, verbose=False, analytics_enabled=False, download_files=False)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of the demo with the embedded model, which also serves tools."""
    log = tmp_path_factory.mktemp("demo") / "log"
    with serving(log, "-m", "emosteer", "demo", "--mcp", "--port") as (address, _):
        yield address


@pytest.fixture(scope="module")
def client(address):
    return visitor(address)


@pytest.fixture
def direct(real):
    """The same model without the demo, on as many threads as the studio takes: sums depend on their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    yield real
    torch.set_num_threads(before)


@pytest.mark.embedded
@pytest.mark.slow
def test_six_users_at_once_get_what_each_would_get_alone(address, client, direct):
    before = [(client.predict(**user.alone), client.predict(**user.both)) for user in USERS[:2]]
    start = Barrier(len(USERS))

    def ask(user: User) -> tuple[str, list[dict[str, str]]]:
        own = visitor(address)
        start.wait()
        reply, voices = own.submit(**user.alone), own.submit(**user.both)
        return reply.result(), list(voices)

    with ThreadPoolExecutor(len(USERS)) as at_once:
        found = list(at_once.map(ask, USERS))
    assert [(reply, updates[-1]) for reply, updates in found[: len(before)]] == before
    for user, (reply, updates) in zip(USERS, found, strict=True):
        tone = {"emotion": {user.emotion: user.strength}, "recipe": "asked_and_steered"}
        toned = direct.chat(user.prompt, **tone, seed=user.seed, **SAMPLING)
        plain = direct.chat(user.prompt, seed=user.seed, **SAMPLING)
        assert toned != plain
        assert reply == toned.strip()
        assert updates[-1] == {"plain": plain, "toned": toned}
        assert len(updates) > TOKENS // 2  # it came in pieces, each a beginning of what follows
        for one, following in pairwise(updates):
            assert all(following[voice].startswith(one[voice]) for voice in one)
    assert len({reply for reply, _ in found}) == len(USERS)


@pytest.mark.embedded
def test_a_point_is_a_tone_too(client, direct):
    point = {"valence": -0.8, "arousal": 0.6}
    asked = {"messages": said("What is in the box?"), "seed": 6, "max_new_tokens": TOKENS, "api_name": "/two_voices"}
    tone = {"emotion": Affect(**point), "recipe": "asked_and_steered"}
    assert client.predict(emotion=point, **asked)["toned"] == direct.chat(
        "What is in the box?", **tone, seed=6, **SAMPLING
    )


@pytest.mark.embedded
def test_reading_is_the_librarys(client, direct):
    text = "What a joyful day!"
    found, expected = client.predict(text, api_name="/read_emotion"), direct.read(text).to_dict()
    assert found.keys() == expected.keys()
    assert found["tokens"] == expected["tokens"]
    assert found["scores"] == pytest.approx(expected["scores"], abs=1e-3)
    assert max(found["scores"], key=found["scores"].get) == "joy"


@pytest.mark.embedded
def test_the_emotions_are_listed_with_their_places(client, real):
    listed = client.predict(api_name="/list_emotions")
    assert [one["name"] for one in listed] == list(real.vectors.emotions)
    places = {one["name"]: (one["valence"], one["arousal"]) for one in listed}
    known = {name: (info.valence, info.arousal) for name, info in real.vectors.info.items()}
    assert places == known
    assert places["joy"][0] > 0.5


@pytest.mark.embedded
def test_four_names_can_be_called(client):
    api = client.view_api(return_format="dict", print_info=False)
    assert set(api["named_endpoints"]) == {f"/{name}" for name in NAMES}
    assert api["unnamed_endpoints"] == {}


REFUSED = [
    ("make_reply", {"prompt": "Hi", "emotion": "<b>zeal</b>"}, "There is no emotion '&lt;b&gt;zeal&lt;/b&gt;'"),
    ("make_reply", {"prompt": "Hi", "emotion": ["joy"]}, "['joy'] is no emotion."),
    ("make_reply", {"prompt": " "}, "The text is empty."),
    ("make_reply", {"prompt": "x" * 2001}, "The text has 2001 characters, at most 2000 are taken."),
    ("make_reply", {"prompt": "Hi", "strength": "<i>much"}, "&lt;i&gt;much is no number."),
    ("make_reply", {"prompt": "Hi", "seed": "one"}, "one is no number."),
    ("make_reply", {"prompt": "Hi", "max_new_tokens": [2]}, "[2] is no number."),
    ("two_voices", {"messages": "Hi", "emotion": {}}, "A conversation is a list of messages"),
    ("two_voices", {"messages": ["Hi"], "emotion": {}}, "A conversation is a list of messages"),
    ("two_voices", {"messages": [], "emotion": {}}, "A conversation is a list of messages"),
    ("two_voices", {"messages": said("Hi") * 21, "emotion": {}}, "The conversation has 21 messages, at most 20"),
    ("two_voices", {"messages": said(""), "emotion": {}}, "The text is empty."),
    ("two_voices", {"messages": [{"role": "system", "content": "Hi"}], "emotion": {}}, "The role of a message is"),
    ("two_voices", {"messages": said("Hi"), "emotion": "<joy>"}, "&lt;joy&gt; is no tone."),
    ("two_voices", {"messages": said("Hi"), "emotion": {"joy": "<1>"}}, "{'joy': '&lt;1&gt;'} is no"),
    ("two_voices", {"messages": said("Hi"), "emotion": {"<zeal>": 1}}, "There is no emotion '&lt;zeal&gt;'"),
    (
        "two_voices",
        {"messages": said("Hi"), "emotion": dict.fromkeys("abcdef", 1)},
        "6 emotions were asked for at once",
    ),
    ("two_voices", {"messages": said("Hi"), "emotion": {}, "temperature": "hot"}, "hot is no number."),
    ("read_emotion", {"text": ""}, "The text is empty."),
    ("read_emotion", {"text": "x" * 4001}, "The text has 4001 characters, at most 4000 are taken."),
]


@pytest.mark.embedded
@pytest.mark.parametrize(("name", "asked", "message"), REFUSED)
def test_what_cannot_be_is_one_clear_message(client, name, asked, message):
    """As text in a page; that there is no traceback on the server's side is seen when it ends."""
    with pytest.raises(AppError) as refused:
        client.predict(**asked, api_name=f"/{name}")
    shown = str(refused.value)
    assert shown.startswith(message)
    assert not {"<", ">"} & set(shown)
    assert "Traceback" not in shown
    assert "\n" not in shown


@pytest.mark.embedded
def test_the_message_is_the_librarys(client, direct):
    with pytest.raises(EmosteerError) as expected:
        direct.chat("Hi", emotion={"zeal": 1.0})
    with pytest.raises(AppError) as found:
        client.predict("Hi", "zeal", api_name="/make_reply")
    assert str(found.value) == str(expected.value)


@pytest.mark.embedded
def test_other_models_are_given_four_tools(address, client):
    asked = {"prompt": "How was your day?", "seed": 3, "max_new_tokens": 4}

    async def talk():
        async with (
            streamable_http_client(f"{address}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            answered = await session.call_tool("make_reply", asked)
            refused = await session.call_tool("make_reply", {**asked, "emotion": "zeal"})
            return tools, answered, refused

    tools, answered, refused = asyncio.run(talk())
    tools = {tool.name: tool for tool in tools}
    assert set(tools) == NAMES
    assert tools["make_reply"].description.startswith("Answer a prompt in the tone of an emotion.")
    arguments = tools["make_reply"].inputSchema
    assert arguments["required"] == ["prompt"]
    assert arguments["properties"].keys() == {"prompt", "emotion", "strength", "seed", "max_new_tokens"}
    assert all("description" in argument for argument in arguments["properties"].values())
    assert (answered.isError, refused.isError) == (False, True)
    assert answered.content[0].text == client.predict(**asked, api_name="/make_reply")
    assert refused.content[0].text.startswith("There is no emotion")


# Two may wait; whoever is served says so, and waits for a line.
SMALL = """
import sys

from emosteer.errors import InputError
from emosteer.demo import build, page
from emosteer.demo.studio import Studio

def first_model(studio):
    print("serving", flush=True)
    raise InputError("Released " + sys.stdin.readline().strip())

page.WAITING, Studio.first_model, Studio.open = 2, first_model, lambda studio: None
demo = build()
demo.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True)
demo.page.block_thread()
"""


@pytest.mark.slow
def test_whoever_comes_when_the_line_is_full_is_told_so(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with serving(tmp_path / "log", "-c", SMALL, **pipes) as (address, server):
        call = f"{address}gradio_api/call/make_reply"

        def ask() -> httpx.Response:
            return httpx.post(call, json={"data": ["Hi", "joy", 1.0, 0, 1]})

        def release(name: str) -> None:
            server.stdin.write(f"{name}\n")
            server.stdin.flush()

        in_line = [ask()]
        assert server.stdout.readline() == "serving\n"
        in_line += [ask(), ask()]
        assert [one.status_code for one in in_line] == [200, 200, 200]
        refused = ask()
        assert refused.status_code == 503
        assert refused.json()["detail"].startswith("Queue is full. Max size is 2")
        with pytest.raises(Exception, match="Queue is full"):
            visitor(address).predict("Hi", api_name="/make_reply")
        for name, one in zip("abc", in_line, strict=True):  # those who wait get their answers, in turn
            release(name)
            assert f"Released {name}" in httpx.get(f"{call}/{one.json()['event_id']}", timeout=30).text
        release("d")
        with pytest.raises(AppError, match="Released d"):  # and then there is room again
            visitor(address).predict("Hi", api_name="/make_reply")
