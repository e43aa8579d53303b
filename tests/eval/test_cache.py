"""What cached results are named by: everything that they depend on, and nothing else."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

import emosteer
from emosteer.cli.quickstart import _built
from emosteer.errors import EmosteerWarning, InputError
from emosteer.eval import evaluate_steering, sampling
from emosteer.eval.alignment.states import Run, word_states
from emosteer.eval.cache import described, model_digest, own_decoding, vectors_digest
from emosteer.eval.sampling import Cell, generate_cells
from emosteer.steering.recipes import RECIPES, Recipe
from tests.conftest import few, small_concepts, tiny_model, tiny_tokenizer

JOY = Cell("joy", 0.5, "additive")


@pytest.fixture
def own():
    """A model and a tokenizer that a test may change."""
    return tiny_model(), tiny_tokenizer()


def swapped_rows(model, _tokenizer):
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        table[[10, 11]] = table[[11, 10]].clone()


def last_bit(model, _tokenizer):
    with torch.no_grad():
        model.model.norm.weight[3] += 1e-6


def other_template(_model, tokenizer):
    tokenizer.chat_template = tokenizer.chat_template.replace("<end>", "<end> <end>")


def other_specials(_model, tokenizer):
    tokenizer.add_special_tokens({"extra_special_tokens": ["<calm>"]})


CHANGES = {
    "weights by a bit": last_bit,
    "weights that change places": swapped_rows,
    "dtype": lambda model, _: model.to(torch.bfloat16),
    "config": lambda model, _: setattr(model.config, "rms_norm_eps", 1e-3),
    "attention": lambda model, _: model.set_attn_implementation("eager"),
    "mode": lambda model, _: model.train(),
    "template": other_template,
    "specials": other_specials,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_answers_otherwise_has_another_digest(own, change):
    before = model_digest(*own)
    assert model_digest(tiny_model(), tiny_tokenizer()) == before
    CHANGES[change](*own)
    assert model_digest(*own) != before


def test_what_a_call_leaves_behind_changes_nothing(own):
    model, tokenizer = own
    before = model_digest(*own)
    tokenizer(["a", "longer"], padding=True, truncation=True, max_length=4)
    model.generate(torch.tensor([[1, 2]]), max_new_tokens=2, do_sample=False, pad_token_id=0)
    model.config.name_or_path = "elsewhere"
    assert model_digest(*own) == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of peft and what it imports
def test_adapters_count_by_what_is_in_force(own):
    peft = pytest.importorskip("peft")
    model, tokenizer = own
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    adapted = peft.get_peft_model(model, settings, adapter_name="one")
    adapted.add_adapter("two", settings)
    seen = [model_digest(adapted, tokenizer)]
    adapted.set_adapter("two")
    seen.append(model_digest(adapted, tokenizer))
    next(module for module in adapted.modules() if isinstance(getattr(module, "scaling", None), dict)).scaling[
        "two"
    ] = 3.0
    seen.append(model_digest(adapted, tokenizer))
    with adapted.disable_adapter():
        seen.append(model_digest(adapted, tokenizer))
    seen.append(model_digest(adapted, tokenizer))
    assert seen[4] == seen[2]
    assert len(set(seen)) == 4
    virtual = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    tuned = peft.get_peft_model(tiny_model(), virtual)
    assert model_digest(tuned, tokenizer) != model_digest(tiny_model(), tokenizer)


def test_weights_that_cannot_be_seen_have_no_digest(own):
    model, tokenizer = own
    assert model_digest(copy.deepcopy(model).to("meta"), tokenizer) is None


def test_half_precision_is_told_apart_though_it_has_no_fingerprint(own):
    half = [model_digest(tiny_model(seed=seed).half(), own[1]) for seed in (0, 1)]
    assert None not in half
    assert half[0] != half[1]


# Options and vectors.


def test_options_are_told_apart_by_what_they_hold():
    long = torch.zeros(5000)
    other = long.clone()
    other[2500] = 1  # which is not among the numbers that its repr shows
    assert repr(long) == repr(other)
    assert described({"ids": long}) != described({"ids": other})
    assert described(long.numpy()) != described(other.numpy())
    assert described(GenerationConfig(top_p=0.5)) != described(GenerationConfig(top_p=0.6))
    assert described(Recipe(1, 2, 0.5)) == described(Recipe(1, 2, 0.5)) != described(Recipe(1, 2, 0.25))
    for value in (lambda: 0, object(), tiny_model()):
        with pytest.raises(InputError, match="cannot be cached"):
            described([value])


def test_vectors_are_told_apart_by_what_they_add_not_by_what_was_measured(vectors):
    before = vectors_digest(vectors)
    dose = replace(vectors.dose("joy"), cost=0.4, hit_rate=0.5)
    same = replace(vectors, measured={"steering": {"n": 1}}, doses={"joy": dose}, license="MIT")
    assert vectors_digest(same) == before
    other = replace(vectors, doses={"joy": replace(dose, dose=dose.dose * 2)})
    assert len({before, vectors_digest(other), vectors_digest(vectors.select(["joy", "calm"]))}) == 3


# The caches.


@pytest.fixture
def calls(monkeypatch):
    seen = []
    generate = emosteer.SteeredModel.generate
    monkeypatch.setattr(
        emosteer.SteeredModel, "generate", lambda self, **inputs: seen.append(inputs) or generate(self, **inputs)
    )
    return seen


def ask(steered, cache, **options):
    settings = {"ways": {"additive": {}}, "max_new_tokens": 3, "progress": False}
    return generate_cells(steered, {JOY: [("Hm?", 0), ("So?", 0)]}, cache=cache, **{**settings, **options})


SETTINGS = ({"top_p": 0.3}, {"top_k": 3}, {"repetition_penalty": 1.5}, {"eos_token_id": [2, 9]}, {"num_beams": 2})


@pytest.mark.parametrize("setting", few(SETTINGS, {"top_p": 0.3}, {"eos_token_id": [2, 9]}))
def test_another_generation_config_of_the_model_is_asked_anew(own, tmp_path, calls, setting):
    vectors = emosteer.EmotionVectors.random(own[0], ["joy", "calm"], seed=1)
    steered = emosteer.SteeredModel(*own, vectors)
    ask(steered, tmp_path)
    own[0].generation_config.update(**setting)
    changed = ask(steered, tmp_path)
    assert len(calls) == len(list(tmp_path.iterdir())) == 2
    assert ask(steered, tmp_path) == changed
    assert len(calls) == 2


def test_another_recipe_of_the_same_name_is_asked_anew(own, tmp_path, calls, monkeypatch):
    steered = emosteer.SteeredModel(*own, emosteer.EmotionVectors.random(own[0], ["joy", "calm"], seed=1))
    ways = {"additive": {"recipe": "natural"}}
    ask(steered, tmp_path, ways=ways)
    monkeypatch.setitem(RECIPES, "natural", Recipe(1.0, 2.0, 0.5))
    ask(steered, tmp_path, ways=ways)
    assert len(calls) == 2


def test_answers_of_a_model_that_cannot_be_told_from_another_are_not_kept(own, tmp_path, calls, monkeypatch):
    steered = emosteer.SteeredModel(*own, emosteer.EmotionVectors.random(own[0], ["joy", "calm"], seed=1))
    monkeypatch.setattr(sampling, "model_digest", lambda *_: None)
    for _ in range(2):
        with pytest.warns(EmosteerWarning, match="not kept"):
            ask(steered, tmp_path)
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == []


def test_long_answers_are_read_back(own, tmp_path, calls, monkeypatch):
    """A batch of long answers has more numbers than a file from a stranger may have."""
    steered = emosteer.SteeredModel(*own, emosteer.EmotionVectors.random(own[0], ["joy", "calm"], seed=1))
    first = ask(steered, tmp_path)
    (file,) = tmp_path.iterdir()
    kept = json.loads(file.read_text())
    kept["answers"][0]["tokens"] = [7] * 250_000
    kept["answers"][0]["text"] = "\u5929" * 500_000
    file.write_text(json.dumps(kept))
    again = ask(steered, tmp_path)
    assert len(calls) == 1
    assert len(again[0].tokens) == 250_000
    assert again[1] == first[1]


def test_states_of_words_are_of_this_model_and_tokenizer(own, tmp_path):
    model, tokenizer = own

    def read():
        return word_states(model, tokenizer, ["sun"], "The word {}", layers=(0,), cache=tmp_path, progress=False)

    read()
    read()
    assert len(list(tmp_path.iterdir())) == 1
    model.generation_config.top_p = 0.5  # reads nothing else
    read()
    assert len(list(tmp_path.iterdir())) == 1
    model.to(torch.bfloat16)
    read()
    other_specials(model, tokenizer)
    read()
    assert len(list(tmp_path.iterdir())) == 3


def test_states_that_cannot_be_read_or_kept_are_one_clear_error(own, tmp_path):
    options = {"layers": (0,), "progress": False}
    word_states(*own, ["sun"], "The word {}", cache=tmp_path / "kept", **options)
    (file,) = (tmp_path / "kept").iterdir()
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(InputError, match="Delete the file"):
        word_states(*own, ["sun"], "The word {}", cache=tmp_path / "kept", **options)
    with pytest.raises(InputError, match="cannot be written"):
        word_states(*own, ["sun"], "The word {}", cache=file / "deep", **options)


def test_a_battery_reads_the_weights_once(own, tmp_path, monkeypatch):
    read = []
    digest = "emosteer.eval.alignment.states.model_digest"
    monkeypatch.setattr(digest, lambda *parts: read.append(1) or model_digest(*parts))
    run = Run(
        emosteer.SteeredModel(*own, emosteer.EmotionVectors.random(own[0], ["joy"])), (0,), 100, 0, tmp_path, False
    )
    for frame in ("The word {}", "A word {}"):
        run.states(["sun"], frame)
    assert len(read) == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_quickstart_builds_anew_for_another_tokenizer_or_weights_outside_the_sample(own, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOSTEER_CACHE", str(tmp_path))
    monkeypatch.setattr(emosteer.ConceptSet, "load", lambda _: small_concepts())
    folders = {_built(*own, anew=False)}
    assert _built(*own, anew=False) in folders
    for change in (swapped_rows, other_specials):
        change(*own)
        folders.add(_built(*own, anew=False))
    assert len(folders) == 3


# How answers are decoded.


@pytest.mark.parametrize(
    "option", [{"temperature": 1.0}, {"seed": 1}, {"num_return_sequences": 2}, {"max_new_tokens": 9}, {"emotion": None}]
)
def test_a_way_cannot_set_what_is_the_same_for_all(own, option):
    steered = emosteer.SteeredModel(*own, emosteer.EmotionVectors.random(own[0], ["joy", "calm"], seed=1))
    with pytest.raises(InputError, match=f"sets {next(iter(option))}"):
        ask(steered, None, ways={"additive": option})


def test_each_prompt_has_one_answer_whatever_the_models_generation_config(own):
    steered = emosteer.SteeredModel(*own, emosteer.EmotionVectors.random(own[0], ["joy", "calm"], seed=1))
    plain = ask(steered, None)
    own[0].generation_config.update(num_return_sequences=2, num_beams=2, return_dict_in_generate=True)
    assert len(ask(steered, None)) == len(plain)


def test_an_end_that_a_way_sets_ends_its_answers(own):
    steered = emosteer.SteeredModel(*own, emosteer.EmotionVectors.random(own[0], ["joy", "calm"], seed=1))
    free = ask(steered, None, max_new_tokens=6)[0]
    stop = free.tokens[1]
    for option in ({"eos_token_id": stop}, {"generation_config": GenerationConfig(eos_token_id=stop, pad_token_id=0)}):
        ended = ask(steered, None, max_new_tokens=6, ways={"additive": option})[0]
        assert ended.ended
        assert stop not in ended.tokens


def test_the_report_tells_how_answers_were_decoded(own):
    own[0].generation_config.update(top_p=0.5, temperature=0.2, transformers_version="1")
    assert own_decoding(own[0])["top_p"] == 0.5
    vectors = emosteer.EmotionVectors.random(own[0], ["joy", "calm"], seed=1)
    options = {"strengths": [1.0], "ways": {"additive": {}}, "max_new_tokens": 3, "progress": False}
    report = evaluate_steering(emosteer.SteeredModel(*own, vectors), prompts=["Hm?", "So?"], **options)
    told = report.about["decoding"]
    assert told == json.loads(json.dumps(told))
    assert (told["do_sample"], told["top_p"], told["temperature"], told["max_new_tokens"]) == (True, 0.5, 0.8, 3)
    assert "transformers_version" not in told
    assert report.about["language"] == "en"
