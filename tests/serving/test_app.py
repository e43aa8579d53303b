"""The server over HTTP: OpenAI's forms, the key, the bounds, streams, the counters."""

from __future__ import annotations

import json
import random
import re
import socket
import time

import pytest
from starlette.testclient import TestClient

import emosteer
from emosteer.errors import ToneError
from emosteer.serving import Rules, parse
from emosteer.serving.app import create_app
from emosteer.serving.engine import Engine
from tests.serving.conftest import Heard, alone, job, listening, until
from tests.serving.test_request import ANYTHING

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "Hello"}]


def asked(**fields):
    return {"messages": HELLO, "max_tokens": 6, "temperature": 0, **fields}


def events(response) -> list[dict]:
    """The data of server-sent events, of which the last is [DONE]."""
    lines = [line for line in response.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def metrics(client) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@pytest.mark.parametrize(
    ("fields", "how"),
    [
        ({}, {}),
        ({"emotion": {"joy": 1}}, {"emotion": {"joy": 1}}),
        ({"vllm_xargs": {"emosteer": "joy=1"}}, {"emotion": {"joy": 1}}),
        ({"vllm_xargs": emosteer.serving.request({"joy": 1}, recipe=None)}, {"emotion": {"joy": 1}, "recipe": None}),
        ({"emotion": {"fear": 1}, "recipe": "natural"}, {"emotion": {"fear": 1}, "recipe": "natural"}),
        ({"emotion": {"fear": 1}, "recipe": "asked"}, {"emotion": {"fear": 1}, "recipe": "asked"}),
        (
            {"emotion": {"calm": 2}, "schedule": {"ramp": 4}},
            {"emotion": {"calm": 2}, "schedule": emosteer.schedules.ramp(4)},
        ),
        ({"seed": 3, "temperature": 0.9, "top_k": 50}, {"seed": 3, "do_sample": True, "temperature": 0.9, "top_k": 50}),
    ],
)
def test_an_answer_is_that_of_chat(client, steered, fields, how):
    reply = client.post(CHAT, json=asked(**fields)).json()
    twin = steered.chat(HELLO, max_new_tokens=6, details=True, **how)
    (choice,) = reply["choices"]
    assert choice["message"] == {"role": "assistant", "content": twin.text}
    assert choice["finish_reason"] == twin.finish_reason
    usage = {"prompt_tokens": twin.prompt_tokens, "completion_tokens": twin.completion_tokens}
    assert reply["usage"] == {**usage, "total_tokens": sum(usage.values())}
    assert (reply["object"], reply["model"]) == ("chat.completion", "tiny")


def test_a_completion_continues_a_text(client, steered):
    reply = client.post(TEXT, json={"prompt": "Once", "emotion": {"joy": 1}, "model": "tiny", "max_tokens": 6}).json()
    assert reply["choices"][0]["text"] == alone(steered, "Once", "joy=1", 6).text
    assert reply["object"] == "text_completion"
    usual = client.post(TEXT, json={"prompt": ["Once"]}).json()["choices"][0]["text"]
    assert usual == alone(steered, "Once", "", 16).text
    assert client.post(TEXT, json={"prompt": "Once", "emotion": {"joy": 1}, "recipe": "asked"}).status_code == 400


@pytest.mark.parametrize(("address", "body"), [(CHAT, asked()), (TEXT, {"prompt": "Once", "max_tokens": 6})])
def test_a_stream_is_the_answer_in_pieces(client, address, body):
    whole = client.post(address, json=body).json()
    response = client.post(address, json={**body, "stream": True, "stream_options": {"include_usage": True}})
    assert response.headers["content-type"].startswith("text/event-stream")
    *pieces, last = events(response)
    choices = [piece["choices"][0] for piece in pieces]
    if address == CHAT:
        assert choices[0]["delta"] == {"role": "assistant", "content": ""}
        told = "".join(choice["delta"].get("content", "") for choice in choices)
        assert told == whole["choices"][0]["message"]["content"]
        assert pieces[0]["object"] == "chat.completion.chunk"
    else:
        assert "".join(choice["text"] for choice in choices) == whole["choices"][0]["text"]
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["length"]
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert len({piece["id"] for piece in [*pieces, last]}) == 1
    assert "usage" not in events(client.post(address, json={**body, "stream": True}))[-1]


def test_a_stop_string_ends_the_answer(client, steered):
    text = alone(steered, "Once", "", 30).text
    stop = text[5:7]
    reply = client.post(TEXT, json={"prompt": "Once", "max_tokens": 30, "stop": [stop, "never"]}).json()
    assert reply["choices"][0]["text"] == text[: text.index(stop)]
    assert reply["choices"][0]["finish_reason"] == "stop"
    pieces = events(client.post(TEXT, json={"prompt": "Once", "max_tokens": 30, "stop": stop, "stream": True}))
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == text[: text.index(stop)]


def test_no_answer_is_longer_than_the_context_or_the_operator_allows(steered):
    engine = Engine(steered)
    with TestClient(create_app(engine, name="tiny", most_tokens=9)) as client:
        for name in ("max_tokens", "max_completion_tokens"):
            reply = client.post(CHAT, json={"messages": HELLO, name: 10**9, "temperature": 0}).json()
            assert (reply["usage"]["completion_tokens"], reply["choices"][0]["finish_reason"]) == (9, "length")
        too_long = client.post(TEXT, json={"prompt": "a" * 2000})
        assert too_long.status_code == 400
        assert "context ends at 1024" in too_long.json()["error"]["message"]


def test_what_the_server_tells_of_itself(client):
    assert client.get("/health").json() == {"status": "ok"}
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["max_model_len"]) == ("tiny", 1024)
    told = client.get("/v1/emosteer/emotions").json()
    assert told["emotions"].keys() == {"joy", "fear", "calm"}
    assert told["max_strength"] == 10
    assert "asked_and_steered" in told["recipes"]


def test_a_text_is_read(client, steered):
    reading = client.post("/v1/emosteer/read", json={"input": "What joy!"}).json()
    assert reading["scores"] == pytest.approx(dict(steered.read("What joy!").scores))
    assert client.post("/v1/emosteer/read", json={"input": HELLO}).json()["tokens"]
    for body in ({}, {"input": ""}, {"input": 1}, {"input": "a", "x": 1}, {"input": [{"role": "user"}]}):
        assert client.post("/v1/emosteer/read", json=body).status_code == 400


def failed(response, status, code):
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code), response.text
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"].endswith((".", "}", "]"))
    return error


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"n": 2}, "each request has one answer"),
        ({"logprobs": True}, "no probabilities"),
        ({"tools": [{"type": "function"}]}, "no tools"),
        ({"response_format": {"type": "json_object"}}, "free text"),
        ({"presence_penalty": 0.5}, "repetition_penalty"),
        ({"emotions": {"joy": 1}}, "no field 'emotions'"),
        ({"emotion": {"happyness": 1}}, "'happyness' is unknown. Choose from: joy, fear, calm."),
        ({"emotion": {"joy": 11}}, "is 11, up to"),
        ({"recipe": "natural_best_of_4", "emotion": {"joy": 1}}, "draws several drafts"),
        ({"emotion": {"joy": 1}, "recipe": "natural", "schedule": {"ramp": 4}}, "same along the answer"),
        ({"emotion": {"joy": 1}, "recipe": "asked", "schedule": {"ramp": 4}}, "same in the whole answer"),
        ({"messages": [{"role": "user", "content": "x", "emotion": {"joy": 1}}]}, "a tone of its own"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role of a message is 'tool'"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"temperature": 2.5}, "from 0.0 to 2.0"),
        ({"stop": [""]}, "stop is"),
    ],
)
def test_what_cannot_be_served_is_refused_with_its_reason(client, fields, found):
    code = "invalid_tone" if fields.keys() & {"emotion", "recipe"} else "invalid_request"
    assert found in failed(client.post(CHAT, json=asked(**fields)), 400, code)["message"]


def test_what_is_harmless_is_taken(client):
    harmless = {"n": 1, "logprobs": False, "tools": [], "user": "me", "presence_penalty": 0.0, "logit_bias": None}
    copied = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": [], "tool_calls": None}
    told = client.post(CHAT, json=asked(**harmless, messages=[*HELLO, copied, *HELLO]))
    assert told.status_code == 200


def test_bodies_that_are_none(client):
    for body in (b"", b"{", b"[]", b"null", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff", b"[" * 9999, b'"\\ud800"'):
        failed(client.post(CHAT, content=body), 400, "invalid_request")
    failed(client.post(CHAT, content=b" " * (2**20 + 1)), 413, "too_large")
    failed(client.post(CHAT, json=asked(model="gpt-5")), 404, "model_not_found")
    failed(client.get("/v1/embeddings"), 404, "not_found")
    failed(client.get(CHAT), 405, "method_not_allowed")


@pytest.mark.slow
def test_a_thousand_bad_requests_among_good_ones(client, steered):
    """Whatever stands in any field, nothing is a 500, and the answers in between are right."""
    draw = random.Random(1)
    good, twin = asked(emotion={"joy": 1}), steered.chat(HELLO, emotion={"joy": 1}, max_new_tokens=6)
    names = ["messages", "model", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p"]
    names += ["seed", "stop", "stream", "stream_options", "n", "emotion", "valence", "arousal", "strength", "scope"]
    names += ["schedule", "recipe", "vllm_xargs", "chat_template_kwargs", "repetition_penalty", "logprobs", "x", "user"]
    values = [value for value in ANYTHING if value == value and value not in (float("inf"), 10**400)]
    refused = 0
    for i in range(1100):
        body = asked(max_tokens=1)
        if draw.random() < 0.3:
            body["messages"] = [{"role": draw.choice(["user", *values]), "content": draw.choice(values)}]
        for _ in range(draw.randint(1, 4)):
            body[draw.choice(names)] = draw.choice(values)
        response = client.post(CHAT, content=json.dumps(body))
        assert response.status_code in (200, 400, 404), (body, response.text)
        if response.status_code != 200:
            refused += 1
            assert len(failed(response, response.status_code, response.json()["error"]["code"])["message"]) < 1000
        if i % 100 == 0:
            assert client.post(CHAT, json=good).json()["choices"][0]["message"]["content"] == twin
    assert refused >= 1000
    assert client.get("/health").json() == {"status": "ok"}


def test_the_key_opens_what_is_under_v1(steered):
    with TestClient(create_app(Engine(steered), name="tiny", api_key="sécret")) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "sécret".encode()}):
            for address in ("/v1/models", "/v1/emosteer/emotions", "/v1/nothing"):
                failed(client.get(address, headers=headers), 401, "invalid_api_key")
            failed(client.post(CHAT, json=asked(), headers=headers), 401, "invalid_api_key")
        assert client.get("/v1/models", headers={"Authorization": "Bearer sécret".encode()}).status_code == 200
        assert client.get("/health").status_code == 200
        assert metrics(client)['emosteer_rejected_total{reason="invalid_api_key"}'] == 12


def test_the_rules_of_the_operator(steered):
    rules = Rules(strength=1.5, emotions=("joy",), default=parse('{"emotion": {"joy": 1}, "recipe": null}'))
    with TestClient(create_app(Engine(steered), name="tiny", rules=rules)) as client:
        said = [
            client.post(CHAT, json=asked(**fields)).json()["choices"][0]["message"]["content"]
            for fields in ({}, {"emotion": {}})
        ]
        failed(client.post(CHAT, json=asked(emotion={"joy": 2})), 400, "invalid_tone")
        assert list(client.get("/v1/emosteer/emotions").json()["emotions"]) == ["joy"]
    how = ({"emotion": {"joy": 1}, "recipe": None}, {})
    assert said == [steered.chat(HELLO, max_new_tokens=6, **one) for one in how]
    with pytest.raises(ToneError, match="unknown"):
        create_app(Engine(steered), name="tiny", rules=Rules(default=parse("mirth=1")))


def test_who_comes_when_the_queue_is_full_is_told_to_ask_again(steered):
    engine = Engine(steered, rows=1, queue=1)
    with TestClient(create_app(engine, name="tiny")) as client:
        held = [Heard(engine, job(steered, "x", "", 500))]
        held[0].event()
        held.append(Heard(engine, job(steered, "x", "", 500)))
        response = client.post(CHAT, json=asked())
        failed(response, 429, "queue_full")
        assert response.headers["retry-after"] == "1"
        assert metrics(client)["emosteer_queue_length"] == 1
        for one in held:
            engine.cancel(one.running)
        assert client.post(CHAT, json=asked()).status_code == 200


def test_the_counters(client):
    client.post(CHAT, json=asked(emotion={"joy": 1, "fear": 0.5, "calm": 0}))
    client.post(CHAT, json=asked())
    client.post(CHAT, json=asked(valence=0.5))  # random vectors have no ratings
    client.post(CHAT, json=asked(emotion={"joy": 99}))
    counted = metrics(client)
    assert counted['emosteer_requests_total{emotion="joy"}'] == 1
    assert counted['emosteer_requests_total{emotion="fear"}'] == 1
    assert counted['emosteer_requests_total{emotion="none"}'] == 1
    assert 'emosteer_requests_total{emotion="calm"}' not in counted
    assert counted['emosteer_rejected_total{reason="invalid_tone"}'] == 2
    assert counted['emosteer_tokens_total{kind="steered"}'] == 6
    assert counted['emosteer_tokens_total{kind="generated"}'] == 12
    assert counted['emosteer_finished_total{reason="length"}'] == 2
    assert counted["emosteer_running"] == counted["emosteer_queue_length"] == 0
    text = client.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert all(
        re.fullmatch(r'(# (HELP|TYPE) .+|\w+(\{\w+="[^"]*"\})? [\d.e+]+)', line) for line in text.text.splitlines()
    )


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_its_row(steered, stream):
    engine = Engine(steered)
    with listening(create_app(engine, name="tiny")) as server:
        body = json.dumps(asked(stream=stream, max_tokens=900)).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection((server.host, server.port)) as connection:
            connection.sendall(head + body)
            until(lambda: engine.running == 1)
            if stream:
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
        until(lambda: engine.running == 0)
        assert engine.alive


def test_a_body_that_arrives_too_slowly_is_refused(steered):
    with (
        listening(create_app(Engine(steered), name="tiny", slowest_body=0.3)) as server,
        socket.create_connection((server.host, server.port)) as connection,
    ):
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{".encode())
        begun = time.monotonic()
        assert b"408" in connection.recv(100)
        assert time.monotonic() - begun < 20
