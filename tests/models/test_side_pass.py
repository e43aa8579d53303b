"""What emosteer measures is the plain model in evaluation mode, whatever is in force around it."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager

import pytest
import torch
from torch import nn

import emosteer
from emosteer.errors import InputError
from emosteer.eval import nats_per_token
from emosteer.eval.alignment.states import word_states
from emosteer.eval.sampling import Cell, generate_cells
from emosteer.extraction.extractor import Corpus, extract
from emosteer.extraction.linear_map import Reading
from emosteer.importing import load
from emosteer.layers import decoder_layers
from emosteer.models.activations import collect
from emosteer.models.side_pass import evaluating
from emosteer.reading.fit import fit_readout
from emosteer.steering.vocabulary import vocabulary
from tests.conftest import few, in_threads, small_concepts, tiny_config, tiny_model, tiny_tokenizer

JOY = {"joy": 2.0}


@pytest.fixture(scope="module")
def steered():
    """A model with dropout in its attention, so that its mode can be heard."""
    model = tiny_model(tiny_config(max_position_embeddings=512, attention_dropout=0.5))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"], seed=1)
    wrapped = emosteer.SteeredModel(model, tiny_tokenizer(), vectors)
    assert wrapped.readout
    return wrapped


def exported(steered, folder):
    """A file of another library, with a direction for every layer."""
    from safetensors.torch import save_file

    save_file({"direction": torch.ones(4, 32)}, folder / "direction.safetensors")
    return folder / "direction.safetensors"


# Whatever runs the model for a number of its own → that number.
MEASURES = {
    "collect": lambda s, _: collect(s.model, s.tokenizer, ["A door.", "Rain, all night."], progress=False).states,
    "extract": lambda s, _: extract(s.model, s.tokenizer, small_concepts(), progress=False).directions["joy"],
    "transfer": lambda s, _: Reading.of(s.model, s.tokenizer, Corpus.of(small_concepts()), progress=False).states,
    "random vectors": lambda s, _: emosteer.EmotionVectors.random(s.model, ["joy"]).residual_norm,
    "readout": lambda s, _: fit_readout(s.model, s.tokenizer, s.vectors, progress=False).bias,
    "read": lambda s, _: torch.tensor(list(s.read("I am so glad!").scores.values())),
    "explain": lambda s, _: torch.tensor(s.explain("Well?", "Yes it is.", emotion=JOY, recipe=None).plain),
    "nats": lambda s, _: torch.tensor(nats_per_token(s, "Well?", "Yes it is.")),
    "vocabulary": lambda s, _: vocabulary(s.model, s.vectors, [JOY]),
    "alignment": lambda s, _: torch.tensor(
        word_states(s.model, s.tokenizer, ["joy", "rain"], "It is {}", layers=(1, 2), progress=False)
    ),
    "import": lambda s, folder: load(
        exported(s, folder), s.model, s.tokenizer, emotion="joy"
    ).residual_norm,
    "answers in cells": lambda s, _: torch.tensor(
        generate_cells(
            s, {Cell("joy", 1.0, "additive"): [("Well?", 0)]}, ways={"additive": {}}, max_new_tokens=6, progress=False
        )[0].tokens
    ),
}  # fmt: skip


@contextmanager
def in_a_tone(steered):
    with emosteer.steer(steered.model, steered.vectors, JOY):
        yield


@contextmanager
def monitored(steered):
    with steered.monitor() as live:
        yield
    assert live.scores.shape[1] == 0, "a side pass was recorded"


@contextmanager
def in_training(steered):
    steered.model.train()
    steered.model.lm_head.eval()  # modes may differ
    modes = [module.training for module in steered.model.modules()]
    try:
        yield
        assert [module.training for module in steered.model.modules()] == modes
    finally:
        steered.model.eval()


@pytest.mark.parametrize("around", few([in_a_tone, monitored, in_training], in_a_tone, in_training))
@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_is_that_of_the_plain_model_to_the_bit(steered, name, around, tmp_path):
    expected = MEASURES[name](steered, tmp_path)
    with around(steered):
        found = MEASURES[name](steered, tmp_path)
    assert torch.equal(found, expected)


def test_the_tone_around_a_measure_is_in_force_again_after_it(steered):
    ids = torch.tensor([[7, 8, 9]])
    with emosteer.steer(steered.model, steered.vectors, JOY), torch.no_grad():
        before = steered.model(ids).logits
        steered.read("I am so glad!")
        assert torch.equal(steered.model(ids).logits, before)


@pytest.mark.parametrize("way", ["chat", "generate", "stream", "recipe"])
def test_answers_are_given_in_evaluation_mode(steered, way):
    def answer():
        options = {"emotion": JOY, "max_new_tokens": 8, "do_sample": False}
        if way == "generate":
            return steered.generate(**steered.prompt("Well?"), **options).tolist()
        if way == "stream":
            return "".join(steered.chat("Well?", stream=True, **options))
        return steered.chat("Well?", recipe="natural" if way == "recipe" else None, **options)

    expected = answer()
    with in_training(steered):
        assert answer() == expected


def test_a_monitor_records_what_generate_reads_and_none_of_the_passes_beside_it(steered):
    prompt = steered.prompt("Well?")
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
    length = prompt["input_ids"].shape[1]
    with steered.monitor() as live:
        steered.generate(**prompt, emotion=JOY, **options)
    assert live.scores.shape[:2] == (1, length + 4)
    with steered.monitor() as natural:
        steered.generate(**prompt, emotion=JOY, recipe="natural", **options)
    assert torch.equal(natural.scores[:, :length], recorded(steered, prompt, 1.05)[:, :length])
    with steered.monitor() as held:
        steered.generate(**prompt, emotion=emosteer.Thermostat({"joy": 1.0}), **options)
    assert held.scores.shape[:2] == (1, length + 4)


def recorded(steered, prompt, strength):
    with steered.monitor() as live, emosteer.steer(steered.model, steered.vectors, {"joy": 2.0 * strength}):
        steered.model.generate(**prompt, max_new_tokens=5, min_new_tokens=5, do_sample=False, pad_token_id=0)
    return live.scores


@pytest.mark.parametrize("method", ["contrast", "bias"])
@pytest.mark.parametrize("around", [None, JOY])
def test_a_monitor_does_not_hear_the_branches_of_a_logits_processor(steered, method, around):
    prompt = steered.prompt("Well?")
    processor = emosteer.EmotionLogitsProcessor(steered.model, steered.vectors, {"fear": 1.0}, method=method)
    with steered.monitor() as live:
        output = steered.generate(
            **prompt, emotion=around, logits_processor=[processor], max_new_tokens=5, min_new_tokens=5, do_sample=False
        )
    assert live.scores.shape[:2] == (1, output.shape[1] - 1)
    with steered.monitor() as again, emosteer.steer(steered.model, steered.vectors, around), torch.no_grad():
        steered.model(output[:, :-1])
    torch.testing.assert_close(live.scores, again.scores, atol=1e-3, rtol=1e-3)


def test_batches_of_different_sizes_in_one_monitor_are_one_clear_error(steered):
    with steered.monitor() as live:
        steered.chat("Well?", max_new_tokens=3)
        steered.chat_each("Well?", [JOY, None], recipe=None, max_new_tokens=3)
    with pytest.raises(InputError, match=r"batches of 1 and 2 rows.*one monitor for each call"):
        _ = live.scores


def test_modes_are_put_back_after_an_error_and_when_threads_overlap():
    model = nn.Sequential(nn.Dropout(), nn.Linear(2, 2))
    model[1].eval()
    with pytest.raises(KeyboardInterrupt), evaluating(model):  # noqa: PT012
        assert not any(module.training for module in model.modules())
        raise KeyboardInterrupt
    assert [module.training for module in model.modules()] == [True, True, False]
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

    def first():
        with evaluating(model):
            first_in.set()
            assert second_in.wait(30)
        first_out.set()

    def second():
        assert first_in.wait(30)
        with evaluating(model):
            second_in.set()
            assert first_out.wait(30)
            assert not any(module.training for module in model.modules())

    in_threads(first, second)
    assert [module.training for module in model.modules()] == [True, True, False]


def test_extraction_in_training_mode_draws_no_random_numbers_and_leaves_no_hooks(steered):
    with in_training(steered):
        state = torch.get_rng_state()
        extract(steered.model, steered.tokenizer, small_concepts(), progress=False)
        assert torch.equal(torch.get_rng_state(), state)
    assert not any(block._forward_hooks for block in decoder_layers(steered.model))


def test_side_passes_of_a_tone_entered_by_an_exit_stack(steered):
    expected = MEASURES["collect"](steered, None)
    with ExitStack() as stack:
        stack.enter_context(emosteer.steer(steered.model, steered.vectors, JOY))
        assert torch.equal(MEASURES["collect"](steered, None), expected)
