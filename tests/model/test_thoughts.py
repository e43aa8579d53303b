"""Reasoning models: thoughts apart from the answer, and tones in either. What the model writes is a script."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import pytest
import torch

import emosteer
from emosteer.errors import EmosteerWarning, ToneError
from emosteer.eval.fluency import nats_per_token, prompt_tokens
from emosteer.layers import decoder_layers
from emosteer.steering import Thermostat
from emosteer.vectors.types import Dose
from tests.conftest import tiny_config, tiny_model
from tests.models.chat_templates import FAMILIES, tokenizer_of

MESSAGE = "And in winter?"
SCRIPTS = {
    "Qwen 3": "<think>\nStorms?\n</think>\n\nStorms, and bread.",
    "DeepSeek R1": "Storms?\n</think>\n\nStorms, and bread.",
    "gpt-oss": "<|channel|>analysis<|message|>Storms?<|end|><|start|>assistant"
    "<|channel|>final<|message|>Storms, and bread.",
    "OLMo 2": "Storms, and bread.",
}
ANSWER = "Storms, and bread."
JOY = {"joy": 2.0}


class Script:
    """A logits processor that makes a model write what is in a script, and then end."""

    def __init__(self, tokenizer, *texts):
        self.rows = [
            [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for text in texts
        ]
        self.start = None

    def __call__(self, ids, scores):
        if self.start is None:
            self.start = ids.shape[1]
        forced = torch.full_like(scores, -torch.inf)
        for i in range(len(ids)):
            row = self.rows[i % len(self.rows)]
            at = min(ids.shape[1] - self.start, len(row) - 1)
            forced[i, row[at]] = 0.0
        return forced


def scripted(name):
    tokenizer = tokenizer_of(FAMILIES[name])
    model = tiny_model(tiny_config(eos_token_id=tokenizer.eos_token_id, max_position_embeddings=1024))
    vectors = emosteer.EmotionVectors.random(model, ["joy", "calm"], seed=1)
    doses = {emotion: Dose(0.5, (1,), (1.0,)) for emotion in vectors.emotions}
    steered = emosteer.SteeredModel(model, tokenizer, replace(vectors, doses=doses))
    return steered, {"logits_processor": [Script(tokenizer, SCRIPTS[name])], "do_sample": False}


@pytest.mark.parametrize("name", list(SCRIPTS))
def test_the_answer_is_what_follows_the_thoughts(name):
    steered, options = scripted(name)
    answer = steered.chat(MESSAGE, details=True, **options)
    assert answer.text == ANSWER
    assert answer.thoughts == ("" if name == "OLMo 2" else "Storms?")
    assert answer.finish_reason == "stop"
    script = steered.tokenizer(SCRIPTS[name], add_special_tokens=False)["input_ids"]
    assert answer.completion_tokens == len(script) + 1
    steered, options = scripted(name)
    assert steered.chat(MESSAGE, **options) == ANSWER
    steered, options = scripted(name)
    assert steered.chat_each(MESSAGE, [JOY, None], recipe=None, **options) == [ANSWER, ANSWER]


@pytest.mark.parametrize("name", list(SCRIPTS))
@pytest.mark.parametrize("seed", [None, 1])
def test_a_stream_gives_the_pieces_of_the_answer_alone(name, seed):
    steered, options = scripted(name)
    stream = steered.chat(MESSAGE, stream=True, seed=seed, **options)
    assert stream.answer is None
    assert "".join(stream) == ANSWER
    assert stream.answer.text == ANSWER
    assert stream.answer.thoughts == ("" if name == "OLMo 2" else "Storms?")


@pytest.mark.parametrize("name", ["Qwen 3", "DeepSeek R1", "gpt-oss"])
def test_a_reply_that_is_cut_while_it_thinks_says_so(name):
    steered, options = scripted(name)
    with pytest.warns(EmosteerWarning, match="still thinking"):
        answer = steered.chat(
            MESSAGE, details=True, max_new_tokens=len(SCRIPTS[name].partition("?")[0]) // 2, **options
        )
    assert answer.text == ""
    assert answer.finish_reason == "length"


def steered_positions(steered, options, **tone):
    """Positions of the prompt and reply at which the first steered block's output differs from the plain one."""
    seen = []

    def record(_block, _args, output):
        seen.append((output[0] if isinstance(output, tuple) else output).detach().clone())

    def run(**how):
        seen.clear()
        options["logits_processor"][0].start = None
        handle = decoder_layers(steered.model)[1].register_forward_hook(record)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steered.chat(MESSAGE, **options, **how)
        handle.remove()
        return torch.cat(seen, 1)

    plain, toned = run(), run(**tone)
    return ((plain - toned).abs().amax(-1)[0] > 1e-4).nonzero().flatten().tolist()


@pytest.mark.parametrize("name", ["Qwen 3", "DeepSeek R1", "gpt-oss"])
@pytest.mark.parametrize("operation", ["add", "norm_preserving"])
def test_a_tone_holds_in_the_thoughts_or_in_the_answer_alone(name, operation):
    steered, options = scripted(name)
    start = steered.prompt(MESSAGE)["input_ids"].shape[1]
    before = SCRIPTS[name].removesuffix(ANSWER).removesuffix("\n\n")
    thoughts = len(steered.tokenizer(before, add_special_tokens=False)["input_ids"])
    whole = len(steered.tokenizer(SCRIPTS[name], add_special_tokens=False)["input_ids"])
    asked = {"emotion": JOY, "recipe": None, "operation": operation}
    told = steered_positions(steered, options, scope="thoughts", **asked)
    assert told == list(range(start, start + thoughts))
    told = steered_positions(steered, options, scope="answer", **asked)
    assert told == list(range(start + thoughts, start + whole))
    told = steered_positions(steered, options, scope="generated", **asked)
    assert told == list(range(start, start + whole))


def test_two_tones_one_for_each_part():
    steered, options = scripted("Qwen 3")
    start = steered.prompt(MESSAGE)["input_ids"].shape[1]
    with steered.steer({"calm": 2.0}, scope="thoughts"):
        told = steered_positions(steered, options, emotion=JOY, scope="answer")
    whole = len(steered.tokenizer(SCRIPTS["Qwen 3"], add_special_tokens=False)["input_ids"])
    thoughts = len(
        steered.tokenizer(SCRIPTS["Qwen 3"].removesuffix("\n\n" + ANSWER), add_special_tokens=False)["input_ids"]
    )
    assert told == list(range(start + thoughts, start + whole))  # both runs are calm in the thoughts


def test_rows_of_a_batch_each_part_their_own_reply():
    steered, _ = scripted("Qwen 3")
    texts = ["<think>\nA?\n</think>\n\nYes, so it is.", "<think>\nA much longer thought.\n</think>\n\nYes."]
    options = {"logits_processor": [Script(steered.tokenizer, *texts)], "do_sample": False, "max_new_tokens": 60}
    seen = []

    def record(_block, _args, output):
        seen.append((output[0] if isinstance(output, tuple) else output).detach().clone())

    runs = []
    for scope, tone in ((None, None), ("answer", JOY)):
        seen.clear()
        options["logits_processor"][0].start = None
        handle = decoder_layers(steered.model)[1].register_forward_hook(record)
        steered.chat_each(MESSAGE, [tone, tone], recipe=None, scope=scope, **options)
        handle.remove()
        runs.append(torch.cat(seen, 1))
    start = steered.prompt(MESSAGE)["input_ids"].shape[1]
    differs = (runs[0] - runs[1]).abs().amax(-1) > 1e-4
    for row, text in zip(differs, texts, strict=True):
        first = len(steered.tokenizer(text.partition("\n\n")[0], add_special_tokens=False)["input_ids"])
        assert int(row.nonzero()[0]) == start + first


@pytest.mark.parametrize("scope", ["thoughts", "answer"])
def test_what_has_no_thoughts_is_refused(scope):
    steered, options = scripted("OLMo 2")
    with pytest.raises(ToneError, match="reasoning models"):
        steered.chat(MESSAGE, emotion=JOY, recipe=None, scope=scope, **options)
    steered, options = scripted("Qwen 3")
    with pytest.raises(ToneError, match="thermostat"):
        steered.chat(MESSAGE, emotion=Thermostat({"joy": 1.0}), scope=scope, **options)
    with pytest.raises(ToneError, match="num_beams"):
        steered.chat(MESSAGE, emotion=JOY, recipe=None, scope=scope, num_beams=2, max_new_tokens=4)


@pytest.mark.parametrize("name", ["Qwen 3", "DeepSeek R1", "gpt-oss"])
def test_what_measures_an_answer_asks_for_it_without_thoughts(name):
    steered, _ = scripted(name)
    tokens = prompt_tokens(steered, MESSAGE)
    assert steered.tokenizer.decode(tokens).rstrip().endswith(FAMILIES[name].thoughts[1])
    nats = nats_per_token(steered, MESSAGE, ANSWER)
    ids = torch.tensor([[*tokens, *steered.tokenizer(ANSWER, add_special_tokens=False)["input_ids"]]])
    with torch.no_grad():
        surprisal = -steered.model(ids).logits[0].log_softmax(-1)[:-1].gather(1, ids[0, 1:, None])[:, 0]
    assert nats == pytest.approx(float(surprisal[len(tokens) - 1 :].mean()), rel=1e-4)
    if name != "Qwen 3":  # whose template closes them with a variable, which explain leaves to its caller
        told = steered.explain(MESSAGE, ANSWER)
        assert sum(map(math.log, told.plain)) == pytest.approx(-nats * len(told.plain), rel=1e-3)
