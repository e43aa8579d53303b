"""A tone in the logits, under the limit of what the plain model finds plausible.

The oracle is a processor written here that keeps nothing between steps: for every row it runs the whole text twice,
without padding and without a cache, once plainly and once with the hooks of `tests.oracle`, and compares them in
float64.
"""

from __future__ import annotations

import copy
import gc
import io
import math
import threading

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, LogitsProcessorList, T5Config, T5ForConditionalGeneration
from transformers import RepetitionPenaltyLogitsProcessor as RepetitionPenalty

import emosteer
from emosteer.errors import EmosteerError, IncompatibleModelError, InputError, ToneError
from emosteer.models import compile_stance
from emosteer.steering.logits_processor import BIAS
from emosteer.vectors.shipped import shipped_folder
from tests.conftest import few, in_threads, tiny_tokenizer
from tests.oracle import (
    ARCHITECTURES,
    STATEFUL,
    built,
    each,
    every_architecture,
    expected_logits,
    four_architectures,
    hooks_on,
    left_as_it_was,
    made_for,
    padded,
    some_ids,
)

JOY, FEAR, CALM = {"joy": 1.5}, {"fear": 1.0, "joy": -0.5}, {"calm": 2.0}
TONES = [JOY, None, FEAR]
LENGTHS = (8, 3, 5)


def processor(arch: str, tone=None, **options) -> emosteer.EmotionLogitsProcessor:
    return emosteer.EmotionLogitsProcessor(built(arch), made_for(arch), tone, **options)


def both(one, other):
    """Two tones at once."""
    one, other = one or {}, other or {}
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def oracle(arch: str, tones, pads=(0,), *, guidance: float = 1.0, plausibility: float = 0.1):
    """The processed scores by two whole passes over each row: one tone and one number of padding tokens for each."""

    def process(ids, _scores):
        rows = []
        for i, row in enumerate(ids):
            text = row[None, pads[i * len(pads) // len(ids)] :]
            plain, toned = (
                expected_logits(arch, text, tone)[0, -1].double().log_softmax(-1)
                for tone in (None, tones[i * len(tones) // len(ids)])
            )
            guided = plain + guidance * (toned - plain)
            rows.append(guided.masked_fill(plain.exp() < plausibility * plain.exp().max(), -math.inf))
        return torch.stack(rows).float()

    return process


class Heard:
    """A processor, and what it was given and gave."""

    def __init__(self, processor) -> None:
        self.processor, self.ids, self.scores = processor, [], []

    def __call__(self, ids, scores):
        given = scores.clone()
        processed = self.processor(ids, scores)
        assert torch.equal(given, scores)  # nothing is written into
        self.ids.append(ids)
        self.scores.append(processed)
        return processed


def generate(arch: str, ids, mask=None, *processors, **options):
    """Eight new tokens or fewer."""
    mask = torch.ones_like(ids) if mask is None else mask
    options = {"do_sample": False, "use_cache": True, "max_new_tokens": 8, "pad_token_id": 0, **options}
    return built(arch).generate(ids, attention_mask=mask, logits_processor=[*processors], **options)


def check_scores(found, expected) -> None:
    """The same scores at each step; rounding may decide otherwise on a token that stands at the limit."""
    found, expected = torch.stack(found), torch.stack(expected)
    ruled_out = found.isinf() | expected.isinf()
    assert (found.isinf() != expected.isinf()).sum() <= 1
    torch.testing.assert_close(found[~ruled_out], expected[~ruled_out], atol=1e-4, rtol=1e-4)


def check(arch: str, ids, mask, ours, theirs, **options):
    """Two processors hear and say the same at every step, and it is no matter of course. The tokens they lead to."""
    ours, theirs = Heard(ours), Heard(theirs)
    torch.manual_seed(5)
    found = generate(arch, ids, mask, ours, **options)
    torch.manual_seed(5)
    expected = generate(arch, ids, mask, theirs, **options)
    assert torch.equal(found, expected)
    assert len(ours.scores) == len(theirs.scores) > 1
    check_scores(ours.scores, theirs.scores)
    assert not torch.equal(found, generate(arch, ids, mask, **options))
    return found


# Contrast: two passes, one limit.


@every_architecture
def test_scores_and_tokens_of_a_padded_batch_equal_two_uncached_passes_over_each_row_alone(arch):
    ids, mask = padded([some_ids(length, seed=length) for length in LENGTHS])
    pads = [8 - length for length in LENGTHS]
    options = {"guidance": 1.5, "plausibility": 0.5}
    ours = Heard(processor(arch, TONES, **options))
    check(arch, ids, mask, ours, oracle(arch, TONES, pads, **options))
    kept = torch.cat([scores > -math.inf for scores in ours.scores]).sum(1)
    assert kept.min() >= 1
    assert 1 < kept.double().mean() < 200  # the limit rules out most of the 400, and leaves a choice


@each(STATEFUL)
def test_models_that_carry_a_state_are_compared_alike(arch):
    tones = TONES if arch == "mamba" else [JOY]  # rows of a batch disturb each other in transformers' RWKV
    ids = some_ids(7, rows=len(tones))
    check(arch, ids, None, processor(arch, tones, guidance=2.0), oracle(arch, tones, guidance=2.0))


DECODING = {
    "uncached": {"use_cache": False},
    "chunks": {"prefill_chunk_size": 3},
    "static": {"cache_implementation": "static", "disable_compile": True},
    "sampled": {"do_sample": True, "temperature": 1.3, "top_k": 50},
    "looked up": {"prompt_lookup_num_tokens": 4, "max_new_tokens": 16},
}


@pytest.mark.parametrize("decoding", few(DECODING, "chunks", "looked up"))
@four_architectures
def test_every_way_of_decoding_is_given_the_same_scores(arch, decoding):
    ids = some_ids(4).repeat(1, 3)  # repeats itself, so that there is something to look up
    options = DECODING[decoding]
    ours, theirs = processor(arch, JOY, guidance=1.5), oracle(arch, [JOY], guidance=1.5)
    torch.manual_seed(5)
    found = generate(arch, ids, None, ours, **options)
    torch.manual_seed(5)
    sampling = {
        name: options[name] for name in ("do_sample", "temperature", "top_k", "max_new_tokens") if name in options
    }
    assert torch.equal(found, generate(arch, ids, None, theirs, **sampling))
    torch.manual_seed(5)
    assert not torch.equal(found, generate(arch, ids, **sampling))


@pytest.mark.slow
def test_compiled_decoding_with_a_static_cache_is_given_the_same_scores():
    ids = some_ids(8)
    found = generate("llama", ids, None, processor("llama", JOY), cache_implementation="static")
    assert torch.equal(found, generate("llama", ids, None, oracle("llama", [JOY])))


@pytest.mark.parametrize("returned", few([1, 3], 3))
@pytest.mark.parametrize("sampled", [False, True])
@four_architectures
def test_beams_equal_those_of_a_processor_that_keeps_nothing(arch, sampled, returned):
    # The same prompt in two tones: its beams may go on only from beams of their own row.
    prompts = [some_ids(6), some_ids(6), some_ids(4, seed=9)]
    tones, options = [JOY, {"joy": -1.5}, CALM], {"guidance": 1.5, "plausibility": 0.001}
    ids, mask = padded(prompts)
    check(
        arch,
        ids,
        mask,
        processor(arch, tones, **options),
        oracle(arch, tones, (0, 0, 2), **options),
        num_beams=3,
        num_return_sequences=returned,
        do_sample=sampled,
    )


def test_beams_that_change_places_go_on_from_beams_of_their_own_row_only():
    prompt, (x, y), tones = some_ids(6), (20, 30), [JOY, {"joy": -1.5}]
    ours, theirs = processor("llama", tones, plausibility=0), oracle("llama", tones, plausibility=0)
    ids = prompt.repeat(4, 1)  # two prompts that are the same, in two tones, with two beams each
    for column in ([x, y, x, y], None, [y, x, y, x]):
        if column is None:
            ids = ids[[1, 0, 1, 0]]
            continue
        ids = torch.cat([ids, torch.tensor(column)[:, None]], 1)
        scores = expected_scores("llama", ids, [0] * 4)
        check_scores([ours(ids, scores)], [theirs(ids, scores)])


@four_architectures
def test_returned_sequences_have_the_tone_of_their_row(arch):
    ids, mask = padded([some_ids(length, seed=length) for length in LENGTHS])
    theirs = oracle(arch, TONES, [8 - length for length in LENGTHS], plausibility=0.0)
    ours = processor(arch, TONES, plausibility=0.0)
    check(arch, ids, mask, ours, theirs, do_sample=True, num_return_sequences=3)


@pytest.mark.parametrize("own", [None, FEAR, [FEAR, JOY, None]], ids=["no tone", "one tone", "a tone a row"])
@pytest.mark.parametrize("outer", [JOY, TONES], ids=["in one tone", "in a tone a row"])
@four_architectures
def test_inside_a_block_that_steers_the_tones_add_up_and_the_limit_is_the_plain_models(arch, outer, own):
    ids, mask = padded([some_ids(length, seed=length) for length in LENGTHS])
    rows = [(tone if isinstance(tone, list) else [tone] * 3) for tone in (outer, own)]
    theirs = oracle(arch, [both(*pair) for pair in zip(*rows, strict=True)], [8 - n for n in LENGTHS], guidance=1.5)
    expected, heard = Heard(theirs), Heard(processor(arch, own, guidance=1.5))
    with emosteer.steer(built(arch), made_for(arch), outer):
        found = generate(arch, ids, mask, heard)
    assert torch.equal(found, generate(arch, ids, mask, expected))
    check_scores(heard.scores, expected.scores)


@pytest.mark.parametrize("method", ["contrast", "bias"])
def test_a_steered_model_generates_with_it(method):
    model, vectors, ids = built("llama"), made_for("llama"), some_ids(8)
    steered = emosteer.SteeredModel(model, tiny_tokenizer(), vectors)
    ours = processor("llama", CALM, method=method)
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    found = steered.generate(input_ids=ids, emotion=JOY, logits_processor=LogitsProcessorList([ours]), **options)
    with emosteer.steer(model, vectors, JOY):
        assert torch.equal(found, generate("llama", ids, None, processor("llama", CALM, method=method)))
    assert not torch.equal(found, generate("llama", ids))


@four_architectures
def test_guidance_1_without_a_limit_is_the_steered_model(arch):
    ids = some_ids(8)
    with emosteer.steer(built(arch), made_for(arch), JOY):
        expected = generate(arch, ids)
    assert torch.equal(generate(arch, ids, None, processor(arch, JOY, plausibility=0)), expected)
    assert not torch.equal(generate(arch, ids), expected)


@pytest.mark.parametrize("method", ["contrast", "bias"])
@four_architectures
def test_guidance_0_and_strength_0_are_the_plain_model_under_the_limit(arch, method):
    ids = some_ids(8)
    expected = Heard(oracle(arch, [None], plausibility=0.05))
    tokens = generate(arch, ids, None, expected)
    assert torch.equal(tokens, generate(arch, ids))
    none = [processor(arch, tone, plausibility=0.05, method=method) for tone in (None, {"joy": 0}, [None])]
    for ours in [processor(arch, JOY, guidance=0, plausibility=0.05, method=method), *none]:
        heard = Heard(ours)
        assert torch.equal(generate(arch, ids, None, heard), tokens)
        check_scores(heard.scores, expected.scores)


@pytest.mark.parametrize("method", ["contrast", "bias"])
def test_at_plausibility_1_only_the_plain_models_favourite_is_left(method):
    ids = some_ids(8)
    torch.manual_seed(0)
    ours = processor("llama", {"joy": 3.0}, method=method, guidance=5.0, plausibility=1)
    assert torch.equal(generate("llama", ids, None, ours, do_sample=True), generate("llama", ids))


@pytest.mark.parametrize("method", ["contrast", "bias"])
def test_what_generate_forbids_stays_forbidden_and_is_no_favourite(method):
    ids = some_ids(8)
    favourite = int(generate("llama", ids, max_new_tokens=1)[0, -1])
    heard = Heard(processor("llama", JOY, method=method, plausibility=1, guidance=2.0))
    found = generate("llama", ids, None, heard, bad_words_ids=[[favourite]], do_sample=True)
    assert favourite not in found[0, 8:]
    assert not any(scores.isnan().any() or (scores == -math.inf).all(-1).any() for scores in heard.scores)
    assert torch.equal(found, generate("llama", ids, bad_words_ids=[[favourite]]))
    with emosteer.steer(built("llama"), made_for("llama"), FEAR):
        inside = generate("llama", ids, None, heard, bad_words_ids=[[favourite]], do_sample=True)
    assert torch.equal(inside, found)


def test_a_repetition_penalty_that_comes_after_it_takes_from_the_toned_scores():
    ids = some_ids(8)
    found = generate("llama", ids, None, processor("llama", JOY), RepetitionPenalty(1.5))
    assert torch.equal(found, generate("llama", ids, None, oracle("llama", [JOY]), RepetitionPenalty(1.5)))


# Constraints, which belong before it.


class Only:
    """A constraint: of the whole vocabulary only these tokens."""

    def __init__(self, *tokens: int) -> None:
        self.tokens = list(tokens)

    def __call__(self, _ids, scores):
        rest = torch.ones(scores.shape[1], dtype=torch.bool)
        rest[self.tokens] = False
        return scores.masked_fill(rest, -math.inf)


def unlikely(arch: str, ids) -> int:
    return int(expected_logits(arch, ids, None)[0, -1].argmin())


@pytest.mark.parametrize("decoding", [{}, {"do_sample": True}, {"num_beams": 2}], ids=["greedy", "sampled", "beams"])
@pytest.mark.parametrize("method", ["contrast", "bias"])
def test_a_constraint_that_forbids_all_that_it_left_is_an_error_and_none_before_it(method, decoding):
    model, ids = built("llama"), some_ids(8)
    only, ours = Only(unlikely("llama", ids)), processor("llama", JOY, method=method)
    with left_as_it_was(model, ids), pytest.raises(InputError, match=r"No token is left.*Put it before Emotion"):
        generate("llama", ids, None, ours, only, **decoding)
    assert generate("llama", ids, None, only, ours, **decoding)[0, 8:].tolist() == only.tokens * 8


@pytest.mark.parametrize("inside", [None, FEAR], ids=["alone", "in a tone"])
def test_a_row_without_a_token_is_found_at_every_door(inside):
    model, vectors, ids = built("llama"), made_for("llama"), some_ids(8, rows=2)
    ours, only = processor("llama", JOY), Only(unlikely("llama", ids[:1]))
    steered = emosteer.SteeredModel(model, tiny_tokenizer(), vectors)
    short = {"input_ids": ids, "max_new_tokens": 4, "pad_token_id": 0}
    for options in ({}, {"seed": 1}, {"recipe": "natural"}):
        with pytest.raises(InputError, match="No token is left"):
            steered.generate(emotion=inside, logits_processor=[ours, only], do_sample=True, **options, **short)
    found = steered.generate(emotion=inside or JOY, recipe="natural", logits_processor=[only], **short)
    assert found[:, 8:].tolist() == [only.tokens * 4] * 2  # a recipe comes after the caller's processors


def test_a_beam_that_ends_while_another_goes_on_is_no_error():
    ids, steps = some_ids(8), []

    def ends_the_second_beam(_ids, scores):
        steps.append(scores)
        return scores if len(steps) == 1 else scores.index_fill(0, torch.tensor([1]), -math.inf)

    found = generate("llama", ids, None, processor("llama", JOY), ends_the_second_beam, num_beams=2)
    assert found.shape[1] > 9


# What it costs, and what it remembers.


def tokens_fed(arch: str, work) -> list[int]:
    """How many tokens each forward pass was given."""
    fed: list[int] = []

    def count(_module, _args, kwargs):
        fed.append(kwargs["input_ids"].shape[1])

    handle = built(arch).register_forward_pre_hook(count, with_kwargs=True)
    try:
        work()
    finally:
        handle.remove()
    return fed


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(
    ("method", "tone", "outer", "extra"),
    [
        ("contrast", JOY, None, 1),
        ("contrast", JOY, FEAR, 2),
        ("contrast", None, FEAR, 1),
        ("contrast", None, None, 0),
        ("bias", JOY, None, 0),
        ("bias", JOY, FEAR, 1),
    ],
)
@pytest.mark.parametrize("arch", ["llama", "gemma3_text", "falcon", "mamba"])
def test_a_token_costs_the_passes_that_the_docstring_says_each_of_one_token(arch, method, tone, outer, extra, beams):
    ours, ids = processor(arch, tone, method=method, plausibility=0.001), some_ids(8)
    options = {"num_beams": beams, "min_new_tokens": 8}
    with emosteer.steer(built(arch), made_for(arch), outer):
        plain = tokens_fed(arch, lambda: generate(arch, ids, **options))
        fed = tokens_fed(arch, lambda: generate(arch, ids, None, ours, **options))
    assert plain[:2] == [8, 1]
    assert len(fed) == (1 + extra) * 8
    assert sorted(fed) == [1] * 7 * (1 + extra) + [8] * (1 + extra)


def counted(monkeypatch, owner, name: str) -> list:
    calls: list = []
    was = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: calls.append(args) or was(*args, **kwargs))
    return calls


@pytest.mark.parametrize("outer", [None, FEAR], ids=["alone", "in a tone"])
def test_hooks_and_the_stance_of_torch_are_set_once_in_a_call_of_generate(outer, monkeypatch):
    model, ids, ours = built("llama"), some_ids(8), processor("llama", JOY, plausibility=0)
    hooks = [counted(monkeypatch, nn.Module, f"register_forward_{kind}") for kind in ("hook", "pre_hook")]
    stances = counted(monkeypatch, torch.compiler, "set_stance")
    counts = []
    for tokens in (2, 8):
        for calls in (*hooks, stances):
            calls.clear()
        with emosteer.steer(model, made_for("llama"), outer):
            generate("llama", ids, None, ours, max_new_tokens=tokens, min_new_tokens=tokens)
        counts.append(tuple(map(len, (*hooks, stances))))
    own, around = (2, 1), ((4, 1) if outer else (0, 0))  # joy is steered after two blocks, fear and joy after all four
    assert counts == [(own[0] + around[0], own[1] + around[1], 1)] * 2


def test_nothing_is_left_on_the_model_after_a_call_after_an_error_or_after_the_processor(monkeypatch):
    model, ids = copy.deepcopy(built("llama")), some_ids(8)
    stances = counted(monkeypatch, compile_stance, "leave"), counted(monkeypatch, compile_stance, "enter")
    attributes = set(vars(model))

    def balanced() -> bool:
        return len(stances[0]) == len(stances[1]) > 0 and not compile_stance._stances

    with left_as_it_was(model, ids):
        ours = emosteer.EmotionLogitsProcessor(model, made_for("llama"), JOY)
        seen = []

        def look(_ids, scores):
            seen.append(len([hook for *_, hooks in hooks_on(model) for hook in hooks]))
            if len(seen) == 6:
                raise KeyboardInterrupt
            return scores

        options = {"do_sample": False, "max_new_tokens": 4, "pad_token_id": 0, "logits_processor": [ours, look]}
        hooks = hooks_on(model)
        model.generate(ids, **options)
        assert hooks_on(model) == hooks
        assert balanced()
        with pytest.raises(KeyboardInterrupt) as caught:
            model.generate(ids, **options)
        assert hooks_on(model) == hooks
        assert balanced()
        assert min(seen) > 0  # they were there while it ran
        ours(ids, torch.zeros(1, 400))  # outside of generate for one pass
        assert hooks_on(model) == hooks
        del caught, options, ours
        gc.collect()
        assert set(vars(model)) == attributes


def test_a_model_can_be_copied_and_pickled_while_a_processor_is_made_for_it():
    model, ids = copy.deepcopy(built("llama")), some_ids(8)
    ours = emosteer.EmotionLogitsProcessor(model, made_for("llama"), JOY)
    expected = generate("llama", ids)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        options = {"do_sample": False, "max_new_tokens": 8, "pad_token_id": 0}
        assert torch.equal(other.generate(ids, **options), expected)
        assert other.generate.__self__ is other
    assert ours is not None


@pytest.mark.parametrize("method", ["contrast", "bias"])
def test_processors_and_blocks_end_in_any_order(method):
    model, ids = built("llama"), some_ids(8)
    with left_as_it_was(model, ids):
        first = processor("llama", JOY, method=method)
        block = emosteer.steer(model, made_for("llama"), FEAR)
        with block:
            second = processor("llama", CALM, method=method)
            del first
            generate("llama", ids, None, second)
        generate("llama", ids, None, second)
        with pytest.raises(ToneError, match="Continuous batching"), block:
            model.init_continuous_batching()
        del second
    assert "generate" not in vars(model)


def test_a_bias_is_spread_over_the_batch_once():
    ours, scores = processor("llama", [JOY, FEAR], method="bias", plausibility=0.1), torch.randn(4, 400)
    ours(some_ids(5, rows=4), scores)
    table = ours._bias.like(scores)
    ours(some_ids(6, rows=4), scores)
    assert ours._bias.like(scores) is table


@pytest.mark.parametrize("arch", ["llama", "gemma3_text", "rwkv"])
def test_one_processor_serves_one_call_after_another(arch):
    ours, options = processor(arch, JOY, guidance=1.5), {"guidance": 1.5}
    first = generate(arch, some_ids(8), None, ours)
    batch = some_ids(8, rows=1 if arch == "rwkv" else 3)
    prompts = [some_ids(8), some_ids(8, seed=4), some_ids(5), batch, first, first[:, :-1], first[:, :-2]]
    for prompt in prompts:
        assert torch.equal(
            generate(arch, prompt, None, ours), generate(arch, prompt, None, oracle(arch, [JOY], **options))
        )


def test_a_text_that_goes_on_in_another_tone_around_it_is_read_again():
    ours, ids = processor("llama", CALM, plausibility=0), some_ids(8)
    with emosteer.steer(built("llama"), made_for("llama"), JOY):
        first = generate("llama", ids, None, ours)
    with emosteer.steer(built("llama"), made_for("llama"), FEAR):
        heard = Heard(ours)
        generate("llama", first, None, heard)
    expected = oracle("llama", [both(CALM, FEAR)], plausibility=0)(first, None)
    torch.testing.assert_close(heard.scores[0], expected, atol=1e-4, rtol=1e-4)


def test_after_a_failure_the_text_is_read_again_and_the_model_is_as_it_was():
    ours, ids = processor("llama", JOY), some_ids(8)
    model = built("llama")
    with left_as_it_was(model, ids):
        text = generate("llama", ids, None, ours)
        scores = expected_scores("llama", text, [0])
        handle = model.model.layers[3].register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ours(text, scores)
        handle.remove()
        check_scores([ours(text, scores)], [oracle("llama", [JOY])(text, scores)])
        assert torch.equal(generate("llama", ids, None, ours), generate("llama", ids, None, oracle("llama", [JOY])))


# Padding, which generate does not tell.


@pytest.mark.parametrize(
    ("arch", "pad", "bos", "eos"),
    [("gpt2", 0, 1, 2), ("gpt2", 3, 3, 2), ("gpt2", 3, 1, [2, 3]), ("gpt2", None, 1, 3), ("opt", 3, 3, 3)],
    ids=["of its own", "as the beginning", "as an end", "none but an end", "as both"],
)
def test_padding_is_told_from_a_text_that_begins_with_the_same_token(arch, pad, bos, eos):
    model = copy.deepcopy(built(arch))
    model.generation_config.update(pad_token_id=pad, bos_token_id=bos, eos_token_id=eos)
    token = 3 if pad is None else pad
    prompts = [torch.cat([torch.tensor([[bos]]), some_ids(length, seed=length)], 1) for length in LENGTHS]
    ids, mask = padded(prompts)
    ids[mask == 0] = token
    ours = emosteer.EmotionLogitsProcessor(model, made_for(arch), JOY)
    for given, pads in ((ids, [8 - length for length in LENGTHS]), (prompts[1], [0])):
        scores = expected_scores(arch, given, pads)
        torch.testing.assert_close(ours(given, scores), oracle(arch, [JOY], pads)(given, scores), atol=1e-4, rtol=1e-4)


def expected_scores(arch: str, ids, pads):
    """What generate would hand over: the plain logits of the last token of each row."""
    return torch.cat([expected_logits(arch, row[None, pad:], None)[:, -1] for row, pad in zip(ids, pads, strict=True)])


def test_a_mask_that_is_given_says_what_is_padding():
    ids, mask = padded([some_ids(length, seed=length) for length in LENGTHS])
    ids = torch.cat([torch.full((3, 2), 7), ids.masked_fill(mask == 0, 7)], 1)  # the longest row is padded too
    mask = torch.cat([torch.zeros(3, 2, dtype=torch.long), mask], 1)
    pads = [10 - length for length in LENGTHS]
    options = {"num_return_sequences": 2, "do_sample": True}
    check("gpt2", ids, mask, processor("gpt2", JOY, attention_mask=mask), oracle("gpt2", [JOY], pads), **options)
    heard = Heard(processor("gpt2", JOY))
    generate("gpt2", ids, mask, heard)
    assert not torch.allclose(heard.scores[0], oracle("gpt2", [JOY], pads)(ids, None), atol=1e-2)


# Bias: the direction, read through the model's own norm and head.


def read_by_hand(arch: str, name: str) -> torch.Tensor:
    """An emotion's last direction through the final norm's weight and the unembedding, standardised."""
    model, direction = built(arch), made_for(arch).directions[name][-1].double()
    norm = model.get_submodule({"llama": "model.norm", "gemma3_text": "model.norm"}.get(arch, "transformer.ln_f"))
    weight = norm.weight.double() + (1 if arch == "gemma3_text" else 0)
    if arch in ("gpt2", "falcon"):
        direction = direction - direction.mean()
    bonus = model.get_output_embeddings().weight.double() @ (weight * direction)
    return (bonus - bonus.mean()) / bonus.std()


@pytest.mark.parametrize("arch", ["llama", "gemma3_text", "gpt2", "falcon"])
def test_the_bias_is_the_direction_through_the_final_norm_and_the_unembedding(arch):
    scores = torch.randn(4, 400, generator=torch.Generator().manual_seed(0))
    plain = scores.double().log_softmax(-1)
    tones = [JOY, FEAR]
    rows = []
    for i, tone in enumerate([JOY, JOY, FEAR, FEAR]):
        bonus = sum(strength * BIAS * read_by_hand(arch, name) for name, strength in tone.items())
        toned = (plain[i] + bonus).log_softmax(-1)
        guided = plain[i] + 1.5 * (toned - plain[i])
        rows.append(guided.masked_fill(plain[i].exp() < 0.1 * plain[i].exp().max(), -math.inf))
    found = processor(arch, tones, method="bias", guidance=1.5)(some_ids(5, rows=4), scores)
    torch.testing.assert_close(found, torch.stack(rows).float(), atol=2e-3, rtol=1e-3)


@each(ARCHITECTURES | STATEFUL)
def test_the_bias_costs_no_pass_a_token_and_does_not_depend_on_what_steers_while_it_is_made(arch):
    ids, scores = some_ids(8), torch.randn(1, 400, generator=torch.Generator().manual_seed(0))
    with left_as_it_was(built(arch), ids):
        ours = processor(arch, JOY, method="bias", plausibility=0)
        assert tokens_fed(arch, lambda: ours(ids, scores)) == []
        with emosteer.steer(built(arch), made_for(arch), [FEAR, CALM, CALM]):
            again = processor(arch, JOY, method="bias", plausibility=0)
        assert torch.equal(ours(ids, scores), again(ids, scores))
    assert not torch.allclose(ours(ids, scores), scores.log_softmax(-1), atol=0.1)


# Threads.


def test_threads_with_processors_of_their_own_or_one_for_both_each_hear_their_own():
    model, prompts = built("llama"), [some_ids(8), some_ids(8, seed=4)]
    tones = [JOY, FEAR]
    expected = [
        generate("llama", p, None, oracle("llama", [t]), max_new_tokens=16) for p, t in zip(prompts, tones, strict=True)
    ]
    shared = processor("llama", JOY)
    expected.append(generate("llama", prompts[1], None, oracle("llama", [JOY]), max_new_tokens=16))
    expected.append(generate("llama", prompts[0], None, oracle("llama", [JOY]), max_new_tokens=16))
    work = [
        (prompts[0], lambda: processor("llama", JOY)),
        (prompts[1], lambda: processor("llama", FEAR)),
        (prompts[1], lambda: shared),
        (prompts[0], lambda: shared),
    ]
    barrier, found = threading.Barrier(len(work), timeout=60), {}

    def run(i):
        def one():
            prompt, make = work[i]
            ours = make()
            barrier.wait()
            found[i] = generate("llama", prompt, None, ours, max_new_tokens=16)

        return one

    with left_as_it_was(model, prompts[0]):
        in_threads(*map(run, range(len(work))))
    assert [torch.equal(found[i], expected[i]) for i in range(len(work))] == [True] * 4
    assert not torch.equal(expected[1], expected[2])


def test_a_bias_may_be_made_while_another_thread_generates():
    model, ids = built("llama"), some_ids(8)
    expected = generate("llama", ids, max_new_tokens=32)
    done, found = threading.Event(), []

    def make():
        while not done.is_set():
            processor("llama", JOY, method="bias")

    def talk():
        try:
            found.extend(generate("llama", ids, max_new_tokens=32) for _ in range(5))
        finally:
            done.set()

    with left_as_it_was(model, ids):
        in_threads(make, talk)
    assert all(torch.equal(one, expected) for one in found)


# What cannot be done.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "magic"}, InputError, "no method 'magic'"),
        ({"guidance": math.nan}, InputError, "guidance is nan"),
        ({"guidance": math.inf}, InputError, "guidance is inf"),
        ({"guidance": "1"}, InputError, "guidance is '1'"),
        ({"plausibility": -0.1}, InputError, "plausibility is -0.1"),
        ({"plausibility": 1.1}, InputError, "plausibility is 1.1"),
        ({"plausibility": math.nan}, InputError, "plausibility is nan"),
        ({"tone": {"rapture": 1.0}}, ToneError, "rapture"),
        ({"tone": {"joy": 11}}, ToneError, "beyond ±10"),
        ({"tone": "joy"}, ToneError, "not a tone"),
        ({"tone": "joy", "method": "bias"}, ToneError, "not a tone"),
    ],
)
def test_arguments_that_cannot_be_used_are_errors_that_say_so(options, error, message):
    with pytest.raises(error, match=message) as caught:
        processor("llama", **options)
    assert isinstance(caught.value, EmosteerError)


@pytest.mark.parametrize("method", ["contrast", "bias"])
@pytest.mark.parametrize("tones", [[JOY, FEAR], [JOY] * 4])
def test_a_number_of_tones_that_does_not_fit_the_batch_is_an_error_and_leaves_the_model_alone(tones, method):
    ids = some_ids(5, rows=3)
    with left_as_it_was(built("llama"), ids), pytest.raises(ToneError, match="for a batch of 3 rows"):
        generate("llama", ids, None, processor("llama", tones, method=method))


@pytest.mark.parametrize(("shape", "message"), [((2, 5), r"\[2, 5\]"), ((3, 6), r"\[3, 6\]"), ((6, 5), r"\[6, 5\]")])
def test_a_mask_that_does_not_fit_the_batch_is_an_error(shape, message):
    ours = processor("llama", JOY, attention_mask=torch.ones(shape, dtype=torch.long))
    with pytest.raises(InputError, match=message):
        generate("llama", some_ids(5, rows=3), None, ours)


def test_prompts_of_embeddings_are_refused():
    model = built("llama")
    embeddings = model.get_input_embeddings()(some_ids(5)).detach()
    with pytest.raises(InputError, match="inputs_embeds"):
        model.generate(inputs_embeds=embeddings, logits_processor=[processor("llama", JOY)], max_new_tokens=2)


def test_prompts_with_images_are_refused():
    model = copy.deepcopy(built("llama"))
    model.config.image_token_id = 17
    ours = emosteer.EmotionLogitsProcessor(model, made_for("llama"), JOY)
    ours(torch.tensor([[5, 6]]), torch.zeros(1, 400))
    with pytest.raises(InputError, match="an image"):
        ours(torch.tensor([[5, 17]]), torch.zeros(1, 400))


def test_models_with_an_encoder_and_vectors_of_another_shape_are_refused():
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 4, "num_heads": 4, "vocab_size": 400}
    encoder_decoder = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))
    with pytest.warns(emosteer.EmosteerWarning), pytest.raises(IncompatibleModelError, match="has an encoder"):
        emosteer.EmotionLogitsProcessor(encoder_decoder, made_for("llama"), JOY)
    deeper = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("llama", **ARCHITECTURES["llama"][1] | {"num_hidden_layers": 5})
    )
    with pytest.raises(IncompatibleModelError, match="layers"):
        emosteer.EmotionLogitsProcessor(deeper, made_for("llama"), JOY)


# The real model.


@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.parametrize("method", ["contrast", "bias"])
@pytest.mark.parametrize("emotion", ["joy", "anger"])
def test_no_token_below_the_limit_is_ever_chosen(embedded, method, emotion):
    model, tokenizer = embedded
    vectors = emosteer.EmotionVectors.from_pretrained(shipped_folder())
    prompt = emosteer.SteeredModel(model, tokenizer, vectors).prompt("How was your morning?")["input_ids"]
    ours = emosteer.EmotionLogitsProcessor(model, vectors, {emotion: 3.0}, method=method)
    torch.manual_seed(0)
    options = {"do_sample": True, "temperature": 1.5, "top_k": 0, "max_new_tokens": 24, "pad_token_id": 2}
    plain = model.generate(prompt, num_return_sequences=4, **options)
    toned = model.generate(prompt, num_return_sequences=4, logits_processor=[ours], **options)

    def shares(rows):
        """Each new token's probability as a share of the favourite's, by whole plain passes; none after the end."""
        found = []
        for row in rows:
            end = (row[prompt.shape[1] :] == 2).nonzero()
            text = row[: prompt.shape[1] + int(end[0]) + 1] if len(end) else row
            with torch.no_grad():
                said = model(input_ids=text[None], use_cache=False).logits[0, prompt.shape[1] - 1 : -1].softmax(-1)
            new = text[prompt.shape[1] :]
            found.append(said.gather(1, new[:, None])[:, 0] / said.amax(-1))
        return torch.cat(found)

    assert shares(toned).min() >= 0.1 * (1 - 1e-3)
    assert shares(plain).min() < 0.01  # as sampling this hot would
