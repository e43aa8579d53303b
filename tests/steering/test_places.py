"""Tone over the length of an answer: scopes, schedules and keyframes, against an oracle that knows places by counting.

The oracle runs an uncached pass over the whole sequence for every new token and adds, to each token of one row that
stands alone, what a plain function of its place says. Place 0 is the first token of the answer.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM

import emosteer
from emosteer.errors import ToneError
from emosteer.schedules import constant, decay, keyframes, ramp, window
from emosteer.steering import Keyframes
from emosteer.vectors.types import Dose
from tests.conftest import few
from tests.oracle import (
    COMMON,
    added,
    along,
    blocks_of,
    built,
    each,
    four_architectures,
    generate,
    logits_of,
    made_for,
    padded,
    some_ids,
)

JOY = {"joy": 1.5}
BOTH = {"fear": 1.0, "joy": -0.5}
CALM_TO_JOY = Keyframes({0: {"calm": 2.0}, 4: {"joy": 1.5}})


def share(place, start, end):
    return min(max((place - start) / (end - start), 0), 1)


# Tone and options → what each place gets.
CASES = {
    "all": (BOTH, {"scope": "all"}, lambda p: BOTH),
    "prompt": (BOTH, {"scope": "prompt"}, lambda p: BOTH if p < 0 else {}),
    "generated": (BOTH, {"scope": "generated"}, lambda p: BOTH if p >= 0 else {}),
    "ramp": (JOY, {"schedule": ramp(4)}, lambda p: {"joy": 1.5 * share(p, 0, 4)}),
    "decay": (JOY, {"schedule": decay(1.5)}, lambda p: {"joy": 1.5 * 0.5 ** (max(p, 0) / 1.5)}),
    "window": (JOY, {"schedule": window(-2, 3)}, lambda p: JOY if -2 <= p < 3 else {}),
    "keyframes of factors": (
        BOTH,
        {"schedule": keyframes({-4: 0, 4: 1})},
        lambda p: {name: strength * share(p, -4, 4) for name, strength in BOTH.items()},
    ),
    "a schedule of one's own in a scope": (
        JOY,
        {"schedule": lambda places: 1 + places / 4, "scope": "generated"},
        lambda p: {"joy": 1.5 * (1 + p / 4)} if p >= 0 else {},
    ),
    "calm to joy": (
        CALM_TO_JOY,
        {},
        lambda p: {"calm": 2 * (1 - share(p, 0, 4)), "joy": 1.5 * share(p, 0, 4)},
    ),
    "calm to joy in the answer": (
        CALM_TO_JOY,
        {"scope": "generated"},
        lambda p: {"calm": 2 * (1 - share(p, 0, 4)), "joy": 1.5 * share(p, 0, 4)} if p >= 0 else {},
    ),
}
# Tones for the rows of one batch.
ROWS = [CALM_TO_JOY, None, JOY, Keyframes({1: None, 2: BOTH, 5: None})]
ROW_PLACES = [
    CASES["calm to joy"][2],
    lambda p: {},
    lambda p: JOY,
    lambda p: {name: strength * (share(p, 1, 2) - share(p, 2, 5)) for name, strength in BOTH.items()},
]


@cache
def prompt_of(length: int, seed: int = 3) -> torch.Tensor:
    return some_ids(length, seed=seed)


def expected(arch, prompt, places, *, vectors=None, new=6) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and logits of a greedy answer, token by token without a cache."""
    ids, steps = prompt, []
    with added(blocks_of(arch, built(arch)), along(vectors or made_for(arch), places, prompt.shape[1])):
        for _ in range(new):
            logits = logits_of(built(arch), ids, use_cache=False)[:, -1]
            logits[:, 2] = -float("inf")  # no early end
            steps.append(logits[0])
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    return ids[0], torch.stack(steps)


def check(output, row, prompt, oracle) -> None:
    tokens, logits = oracle
    assert output.sequences[row, -(prompt.shape[1] + len(logits)) :].tolist() == tokens.tolist()
    found = torch.stack([step[row] for step in output.logits])
    found[:, 2] = -float("inf")
    torch.testing.assert_close(found, logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", few(CASES, "prompt", "generated", "ramp", "calm to joy"))
@each(["llama", "gpt2", "gpt_neox", "falcon", "mamba", "rwkv"])
def test_an_answer_equals_that_of_hooks_by_hand(arch, case):
    tone, options, places = CASES[case]
    prompt = prompt_of(7)
    with emosteer.steer(built(arch), made_for(arch), tone, **options):
        output = generate(built(arch), prompt)
    check(output, 0, prompt, expected(arch, prompt, places))


def test_the_cases_differ_from_each_other():
    logits = [expected("llama", prompt_of(7), places)[1][[0, -1]] for _, _, places in CASES.values()]
    for i, one in enumerate(logits):
        for other in logits[:i]:
            assert not torch.allclose(one, other, atol=1e-2)


DECODING = {
    "cached": {},
    "uncached": {"use_cache": False},
    "chunks of 4": {"prefill_chunk_size": 4},
    "chunks of 3, the last of one token": {"prefill_chunk_size": 3},
    "static cache": {"cache_implementation": "static"},
}


@pytest.mark.parametrize("decoding", few(DECODING, "cached", "chunks of 3, the last of one token", "static cache"))
@four_architectures
def test_rows_with_padding_on_the_left_equal_each_row_alone_whatever_the_decoding(arch, decoding):
    prompts = [prompt_of(length, seed=length) for length in (7, 3, 5, 1)]
    with emosteer.steer(built(arch), made_for(arch), ROWS):
        output = generate(built(arch), *padded(prompts), **DECODING[decoding])
    for row, prompt in enumerate(prompts):
        check(output, row, prompt, expected(arch, prompt, ROW_PLACES[row]))


@pytest.mark.parametrize("case", ["prompt", "generated", "window"])
@pytest.mark.parametrize("decoding", [name for name in DECODING if name != "cached"])
def test_scopes_begin_where_the_prompt_ends_whatever_the_decoding(decoding, case):
    tone, options, places = CASES[case]
    prompt = prompt_of(7)
    with emosteer.steer(built("llama"), made_for("llama"), tone, **options):
        output = generate(built("llama"), prompt, **DECODING[decoding])
    check(output, 0, prompt, expected("llama", prompt, places))


@four_architectures
def test_beams_have_the_tone_of_their_row_at_their_place(arch):
    prompts = [prompt_of(5, seed=seed) for seed in (3, 4, 5)]
    options = {"num_beams": 3, "num_return_sequences": 2, "do_sample": False}
    rows = [ROWS[0], ROWS[1], ROWS[3]]
    with emosteer.steer(built(arch), made_for(arch), rows):
        found = generate(built(arch), torch.cat(prompts), **options).sequences
    for row, (prompt, places) in enumerate(zip(prompts, (ROW_PLACES[i] for i in (0, 1, 3)), strict=True)):
        with added(blocks_of(arch, built(arch)), along(made_for(arch), places, 5)):
            alone = generate(built(arch), prompt, **options, use_cache=False).sequences
        assert torch.equal(found[2 * row : 2 * row + 2], alone)


def test_looking_tokens_up_in_the_prompt_leaves_the_places_right():
    prompt = some_ids(4).repeat(1, 4)
    options = {"max_new_tokens": 12, "min_new_tokens": None, "do_sample": False}
    with emosteer.steer(built("llama"), made_for("llama"), CALM_TO_JOY):
        found = generate(built("llama"), prompt, prompt_lookup_num_tokens=4, **options).sequences
    with added(blocks_of("llama", built("llama")), along(made_for("llama"), ROW_PLACES[0], 16)):
        alone = generate(built("llama"), prompt, use_cache=False, **options).sequences
    assert torch.equal(found, alone)


@four_architectures
def test_embeddings_in_the_place_of_tokens_have_the_same_places(arch):
    prompt = prompt_of(7)
    embeddings = built(arch).get_input_embeddings()(prompt).detach()
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    with emosteer.steer(built(arch), made_for(arch), CALM_TO_JOY):
        mask = torch.ones_like(prompt)
        found = built(arch).generate(inputs_embeds=embeddings, attention_mask=mask, **options)
    assert found[0].tolist() == expected(arch, prompt, ROW_PLACES[0])[0][7:].tolist()


def test_a_conversation_that_goes_on_from_its_cache_has_its_answer_at_place_0_again():
    with emosteer.steer(built("llama"), made_for("llama"), CALM_TO_JOY):
        first = generate(built("llama"), prompt_of(7))
        ids = torch.cat([first.sequences, some_ids(3, seed=9)], 1)
        second = generate(built("llama"), ids, past_key_values=first.past_key_values)

    def places(p):  # tokens 7 to 11 were read in the first answer, at places 0 to 4, the others are of the new prompt
        token = p + 16
        return ROW_PLACES[0](token - 7) if token < 12 else ROW_PLACES[0](p)

    check(second, 0, ids, expected("llama", ids, places))


def test_without_a_prompt_the_answer_begins_after_the_first_token():
    with emosteer.steer(built("llama"), made_for("llama"), CALM_TO_JOY):
        output = built("llama").generate(max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0)
    assert output[0].tolist() == expected("llama", torch.tensor([[1]]), ROW_PLACES[0])[0].tolist()


def test_two_answers_in_one_block_each_begin_at_place_0():
    with emosteer.steer(built("llama"), made_for("llama"), CALM_TO_JOY):
        outputs = [generate(built("llama"), prompt_of(length)) for length in (7, 4)]
    for output, length in zip(outputs, (7, 4), strict=True):
        check(output, 0, prompt_of(length), expected("llama", prompt_of(length), ROW_PLACES[0]))


# Whose scope it is.


def scoped(arch: str) -> emosteer.EmotionVectors:
    """Joy is for the answer, fear for the prompt, calm, without a dose, for all tokens."""
    vectors = made_for(arch)
    scopes = {"joy": "generated", "fear": "prompt"}
    return replace(vectors, doses={name: replace(dose, scope=scopes[name]) for name, dose in vectors.doses.items()})


THREE = {"joy": 1.0, "fear": 0.75, "calm": 1.5}


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({}, lambda p: {"joy": 1.0, "calm": 1.5} if p >= 0 else {"fear": 0.75, "calm": 1.5}),
        ({"scope": "all"}, lambda p: THREE),
        ({"scope": "prompt"}, lambda p: THREE if p < 0 else {}),
        ({"layers": [2]}, lambda p: {"joy": 1.0, "calm": 1.5} if p >= 0 else {"fear": 0.75, "calm": 1.5}),
        (
            {"schedule": window(-1, 2)},
            lambda p: {-1: {"fear": 0.75, "calm": 1.5}}.get(p, {"joy": 1.0, "calm": 1.5}) if -1 <= p < 2 else {},
        ),
    ],
    ids=["the file's", "all", "prompt", "the file's, other layers", "the file's and a schedule"],
)
@four_architectures
def test_the_scope_of_each_dose_holds_unless_the_caller_names_one(arch, options, places):
    vectors, oracle = scoped(arch), scoped(arch)
    if "layers" in options:  # the weights of the dose, spread over the layers
        sums = {"joy": 0.5 * 1.5, "fear": 0.375 * 1.75, "calm": 0.25}
        oracle = replace(oracle, doses={name: Dose(dose, (2,), (1.0,)) for name, dose in sums.items()})
    with emosteer.steer(built(arch), vectors, THREE, **options):
        output = generate(built(arch), prompt_of(7))
    check(output, 0, prompt_of(7), expected(arch, prompt_of(7), places, vectors=oracle))


def test_rows_whose_emotions_have_different_scopes_each_have_their_own():
    prompts = [prompt_of(7), prompt_of(3), prompt_of(5)]
    rows = [{"joy": 1.0}, {"fear": 0.75}, Keyframes({0: {"joy": 1.0}, 4: {"calm": 1.0}})]
    wanted = [
        lambda p: {"joy": 1.0} if p >= 0 else {},
        lambda p: {"fear": 0.75} if p < 0 else {},
        lambda p: {"joy": 1 - share(p, 0, 4), "calm": share(p, 0, 4)} if p >= 0 else {},
    ]
    vectors = scoped("llama")
    with emosteer.steer(built("llama"), vectors, rows):
        output = generate(built("llama"), *padded(prompts))
    for row, prompt in enumerate(prompts):
        check(output, row, prompt, expected("llama", prompt, wanted[row], vectors=vectors))


@four_architectures
def test_nested_blocks_of_different_places_add_up(arch):
    def places(p):
        prompt = {"fear": 0.75} if p < 0 else {}
        return {"joy": 1.5 * share(p, 0, 4), **prompt}

    model, vectors = built(arch), made_for(arch)
    with emosteer.steer(model, vectors, JOY, schedule=ramp(4)):
        with emosteer.steer(model, vectors, {"fear": 0.75}, scope="prompt"):
            output = generate(model, prompt_of(7))
        alone = generate(model, prompt_of(7))
    check(output, 0, prompt_of(7), expected(arch, prompt_of(7), places))
    check(alone, 0, prompt_of(7), expected(arch, prompt_of(7), CASES["ramp"][2]))


# Outside of generate, the prompt is what the first pass of a sequence holds.


@pytest.mark.parametrize("case", few(["prompt", "generated", "calm to joy", "window"], "generated", "calm to joy"))
@each(["llama", "gpt2", "falcon", "mamba", "rwkv"])
def test_in_plain_passes_the_prompt_is_the_first_of_a_sequence(arch, case):
    tone, options, places = CASES[case]
    model, ids = built(arch), some_ids(11)
    memory = {"mamba": "cache_params", "rwkv": "state"}.get(arch, "past_key_values")
    with torch.no_grad(), emosteer.steer(model, made_for(arch), tone, **options):
        for _ in range(2):  # the second sequence begins anew
            output = model(ids[:, :7], use_cache=True)
            found = [output.logits]
            for t in range(7, 11):
                output = model(ids[:, t : t + 1], use_cache=True, **{memory: getattr(output, memory)})
                found.append(output.logits)
    with added(blocks_of(arch, model), along(made_for(arch), places, 7)):
        wanted = logits_of(model, ids, use_cache=False)
    torch.testing.assert_close(torch.cat(found, 1), wanted, atol=1e-4, rtol=1e-4)


def test_a_single_pass_is_all_prompt():
    model, ids = built("llama"), some_ids(9)
    with emosteer.steer(model, made_for("llama"), JOY, scope="generated"):
        assert torch.equal(logits_of(model, ids), logits_of(model, ids, use_cache=False))
        generated = logits_of(model, ids)
    assert torch.equal(generated, logits_of(model, ids))


# An encoder beside the decoder: the answer begins after the decoder's own first token.


@cache
def t5():
    sizes = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 4, "num_decoder_layers": 4, "num_heads": 4}
    torch.manual_seed(0)
    config = AutoConfig.for_model("t5", **{**COMMON, **sizes}, decoder_start_token_id=0)
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    generator = torch.Generator().manual_seed(1)
    units = {
        name: torch.nn.functional.normalize(torch.randn(4, 32, generator=generator), dim=-1)
        for name in ("joy", "fear", "calm")
    }
    base = replace(made_for("llama").base_model, model_type="t5", fingerprint=None)
    return model, replace(made_for("llama"), directions=units, residual_norm=torch.full((4,), 20.0), base_model=base)


@pytest.mark.parametrize("started", [1, 4])
@pytest.mark.parametrize("case", ["prompt", "generated", "ramp", "calm to joy"])
def test_the_decoder_of_an_encoder_decoder_is_steered_at_its_own_places(case, started):
    model, vectors = t5()
    tone, options, places = CASES[case]
    source, begun = some_ids(6), torch.cat([torch.zeros(1, 1, dtype=torch.long), some_ids(started - 1)], 1)
    given = {"decoder_input_ids": begun} if started > 1 else {}
    options_of_answer = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "output_logits": True}
    with emosteer.steer(model, vectors, tone, **options):
        output = model.generate(source, **given, **options_of_answer, return_dict_in_generate=True)
    with added(model.decoder.block, along(vectors, places, started)), torch.no_grad():
        whole = model(input_ids=source, decoder_input_ids=output.sequences, use_cache=False).logits[0]
    torch.testing.assert_close(torch.cat(output.logits), whole[started - 1 : -1], atol=1e-4, rtol=1e-4)


# What is refused.


@pytest.mark.parametrize(
    ("tone", "options", "says"),
    [
        (JOY, {"scope": "answer"}, "no scope 'answer'"),
        (JOY, {"scope": ""}, "no scope ''"),
        (JOY, {"schedule": 0.5}, "0.5 is not a schedule"),
        (CALM_TO_JOY, {"schedule": constant()}, "schedule of their own"),
        ([None, CALM_TO_JOY], {"schedule": constant()}, "schedule of their own"),
        (CALM_TO_JOY, {"operation": "ablate"}, "schedule of their own"),
        (CALM_TO_JOY, {"operation": "project"}, "schedule of their own"),
        (Keyframes({0: {"joi": 1.0}}), {}, "no emotion 'joi'"),
        (Keyframes({0: {"joi": 0.0}}), {}, "no emotion 'joi'"),
        (Keyframes({0: {"joy": 11.0}}), {}, "beyond ±10"),
        (Keyframes({0: {"joy": "1"}}), {}, "'joy'"),
    ],
)
def test_what_cannot_be_planned_is_refused(tone, options, says):
    with pytest.raises(ToneError, match=says):
        emosteer.steer(built("llama"), made_for("llama"), tone, **options)


@pytest.mark.parametrize(
    ("tones", "says"),
    [
        ({}, "names no keyframes"),
        ([JOY], "names no keyframes"),
        ({0: "joy"}, "'joy' is not the tone"),
        ({0: CALM_TO_JOY}, "is not the tone of a keyframe"),
        ({float("nan"): JOY}, "nan"),
        ({float("inf"): None}, "inf"),
        ({"0": None}, "'0'"),
    ],
)
def test_what_are_no_keyframes_is_refused_where_they_are_written(tones, says):
    with pytest.raises(ToneError, match=says):
        Keyframes(tones)


def test_keyframes_without_any_tone_install_nothing():
    steering = emosteer.steer(built("llama"), made_for("llama"), Keyframes({0: None, 5: {"joy": 0.0}}))
    assert not steering.plan.sites
