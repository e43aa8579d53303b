"""The official client of OpenAI against a server on the loopback, and the command that starts one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from emosteer.serving import parse, request
from emosteer.serving.app import create_app
from emosteer.serving.engine import Engine
from tests.serving.conftest import TONES, listening

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def client(steered):
    with (
        listening(create_app(Engine(steered), name="tiny", api_key="secret")) as server,
        openai.OpenAI(base_url=f"http://{server.host}:{server.port}/v1", api_key="secret", max_retries=0) as client,
    ):
        yield client


def said(client, tone, **options):
    reply = client.chat.completions.create(
        model="tiny",
        messages=HELLO,
        temperature=0,
        max_tokens=8,
        extra_body={"vllm_xargs": {"emosteer": tone}},
        **options,
    )
    if not options:
        return reply.choices[0].message.content
    return "".join(chunk.choices[0].delta.content or "" for chunk in reply)


def twin(steered, tone):
    asked = parse(tone)
    how = {"scope": asked.scope, "schedule": asked.schedule, "max_new_tokens": 8}
    return steered.chat(HELLO, emotion=asked.tone or None, recipe="default", **how)


def test_sixteen_clients_at_once_have_each_its_own_tone(client, steered):
    asked = [(tone, options) for tone in TONES if "prompt" not in tone for options in ({}, {"stream": True})][:16]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda one: said(client, one[0], **one[1]), asked))
    assert answers == [twin(steered, tone) for tone, _ in asked]
    assert len(set(answers)) > 3


def test_the_fields_may_stand_in_the_body(client, steered):
    body = {"emotion": {"joy": 1.0}, "recipe": "natural"}
    reply = client.chat.completions.create(
        model="tiny", messages=HELLO, temperature=0, max_tokens=8, seed=0, extra_body=body
    )
    assert reply.choices[0].message.content == steered.chat(
        HELLO, emotion={"joy": 1.0}, recipe="natural", max_new_tokens=8
    )
    assert reply.usage.completion_tokens == 8
    assert said(client, request({"joy": 1.0}, recipe="natural")["emosteer"]) == reply.choices[0].message.content


def test_completions_and_models(client, steered):
    assert [model.id for model in client.models.list()] == ["tiny"]
    reply = client.completions.create(model="tiny", prompt="Once", max_tokens=8, temperature=0)
    assert reply.choices[0].text == steered.complete("Once", max_new_tokens=8)


def test_errors_are_those_that_the_client_knows(client):
    with pytest.raises(openai.BadRequestError, match="'mirth' is unknown") as caught:
        said(client, "mirth=1")
    assert caught.value.code == "invalid_tone"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-5", messages=HELLO)
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()


def test_a_stream_that_is_closed_early_lets_others_go_on(client, steered):
    stream = client.chat.completions.create(
        model="tiny", messages=HELLO, temperature=0, max_tokens=500, stream=True, extra_body={"emotion": {"joy": 1}}
    )
    next(iter(stream))
    stream.close()
    assert said(client, "fear=1") == twin(steered, "fear=1")


def test_the_command_refuses_what_is_wrong_at_once(command_line, listener):
    status, _, told = command_line("serve", "--port", listener)
    assert status == 1
    assert "cannot be listened at" in told
    for wrong in (["--max-strength", "11"], ["--default", "joy=a"], ["--vectors", "/nowhere"], ["--model", "a/b"]):
        status, _, told = command_line("serve", "--port", 0, *wrong)
        assert status == 1, wrong
        assert told.startswith("Error"), told
    assert command_line("serve", "--engine", "steam")[0] == 2


@pytest.fixture
def listener():
    """A port that is taken."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.slow
@pytest.mark.embedded
def test_the_command_serves_the_embedded_model():
    """Its address, its key from the environment, an answer in a tone, and its end by Ctrl-C."""
    command = [sys.executable, "-m", "emosteer", "serve", "--port", "0"]
    key = {**os.environ, "EMOSTEER_API_KEY": "secret"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=key) as process:
        try:
            line = process.stderr.readline()
            assert "serves embedded at http://127.0.0.1:" in line
            body = {"messages": HELLO, "emotion": {"joy": 0.8}, "temperature": 0, "seed": 0, "max_tokens": 8}
            asked = urllib.request.Request(
                f"{line.split(' at ')[1].split(' ')[0]}/chat/completions",
                json.dumps(body).encode(),
                {"Authorization": "Bearer secret", "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(asked, timeout=300) as response:
                assert json.load(response)["choices"][0]["message"]["content"]
            process.send_signal(signal.SIGINT)
            assert process.wait(60) in (0, 130)
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
