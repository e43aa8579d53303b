"""Steering a running model: each rule for hooks, on tiny models of many architectures, against the oracle."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import threading
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

import emosteer
from emosteer.errors import IncompatibleModelError, ToneError
from emosteer.vectors.types import Dose
from tests.conftest import few, in_threads
from tests.oracle import (
    ARCHITECTURES,
    COMMON,
    LLAMA,
    STATEFUL,
    TUPLES,
    added,
    block_outputs,
    blocks_of,
    built,
    deltas,
    each,
    every_architecture,
    expected_logits,
    four_architectures,
    generate,
    hooks_on,
    left_as_it_was,
    logits_of,
    made_for,
    padded,
    some_ids,
    stream_of,
    two_architectures,
)

JOY, FEAR, CALM = {"joy": 1.5}, {"fear": 1.0, "joy": -0.5}, {"calm": 2.0}
TONES = [JOY, FEAR, None, CALM]


def steer(arch: str, tone, **options):
    return emosteer.steer(built(arch), made_for(arch), tone, **options)


# What is added, and where.


@pytest.mark.parametrize("tone", [JOY, FEAR, CALM], ids=["joy", "fear and joy", "calm, not calibrated"])
@each(ARCHITECTURES | STATEFUL)
def test_steered_logits_equal_those_of_a_hook_written_by_hand(arch, tone):
    ids = some_ids(12, rows=2)
    expected = expected_logits(arch, ids, tone)
    with steer(arch, tone):
        torch.testing.assert_close(logits_of(built(arch), ids), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected, logits_of(built(arch), ids), atol=1e-2)


def exact(vectors, layer: int) -> tuple[emosteer.EmotionVectors, torch.Tensor]:
    """Vectors whose dose is a product of powers of two, so that it is exact in whatever order it is worked out."""
    doses = {"joy": Dose(0.5, (layer,), (0.25,))}
    return replace(vectors, doses=doses, residual_norm=torch.full((4,), 8.0)), vectors.directions["joy"][layer] * 2.0


@pytest.mark.parametrize("layer", [0, 2, 3])
@every_architecture
def test_a_block_gives_its_plain_output_plus_the_delta_to_the_bit_and_blocks_below_what_they_gave(arch, layer):
    model, ids = built(arch), some_ids(9)
    vectors, delta = exact(made_for(arch), layer)
    plain = block_outputs(arch, model, ids)
    with emosteer.steer(model, vectors, {"joy": 2.0}):
        steered = block_outputs(arch, model, ids)
    for below in range(layer):
        assert torch.equal(stream_of(steered[below]), stream_of(plain[below]))
    expected = stream_of(plain[layer]).clone()
    expected[:, 1:] += delta
    assert torch.equal(stream_of(steered[layer]), expected)


@every_architecture
def test_the_output_of_a_block_keeps_its_type_and_its_other_parts(arch):
    model, ids = built(arch), some_ids(9)
    plain = block_outputs(arch, model, ids)
    with steer(arch, {"joy": 1.0}):
        steered = block_outputs(arch, model, ids)
    assert isinstance(plain[1], tuple) == (arch in TUPLES)
    assert [type(output) for output in steered] == [type(output) for output in plain]
    if arch in TUPLES:
        assert [len(output) for output in steered] == [len(output) for output in plain]
        tensors = [(a, b) for a, b in zip(steered[1][1:], plain[1][1:], strict=True) if isinstance(a, torch.Tensor)]
        assert all(torch.equal(a, b) for a, b in tensors)


@every_architecture
def test_steering_writes_into_no_tensor_that_the_model_made(arch):
    model, ids = built(arch), some_ids(9)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    vectors, delta = exact(made_for(arch), 1)
    with emosteer.steer(model, vectors, {"joy": 2.0}):
        # Before the block's other hooks, this one sees what the block itself returned.
        hook = blocks_of(arch, model)[1].register_forward_hook(
            lambda _m, _a, output: seen.append((stream_of(output), stream_of(output).clone())) and None, prepend=True
        )
        after = block_outputs(arch, model, ids)
        hook.remove()
    original, as_returned = seen[0]
    assert torch.equal(original, as_returned)
    assert torch.equal(stream_of(after[1])[:, 1:], as_returned[:, 1:] + delta)


@four_architectures
def test_recorded_hidden_states_show_the_steered_stream_even_if_their_hooks_came_first(arch):
    model, ids = copy.deepcopy(built(arch)), some_ids(9)
    with torch.no_grad():
        plain = model(ids, output_hidden_states=True).hidden_states  # installs the hooks that record
    vectors, delta = exact(made_for(arch), 1)
    with emosteer.steer(model, vectors, {"joy": 2.0}), torch.no_grad():
        steered = model(ids, output_hidden_states=True).hidden_states
    assert torch.equal(steered[1], plain[1])
    assert torch.equal(steered[2][:, 1:], plain[2][:, 1:] + delta)


def test_a_hook_that_was_there_first_reads_the_steered_stream():
    model, ids, read = built("llama"), some_ids(9), []
    handle = blocks_of("llama", model)[1].register_forward_hook(lambda _m, _a, output: read.append(output))
    plain = logits_of(model, ids) is not None and read.pop()
    vectors, delta = exact(made_for("llama"), 1)
    with emosteer.steer(model, vectors, {"joy": 2.0}):
        logits_of(model, ids)
    handle.remove()
    assert torch.equal(read[0][:, 1:], plain[:, 1:] + delta)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@four_architectures
def test_the_delta_takes_the_dtype_of_the_stream(arch, dtype):
    model, ids = built(arch, dtype), some_ids(9)
    vectors, delta = exact(emosteer.EmotionVectors.random(model, ["joy"]), 1)
    plain = block_outputs(arch, model, ids)
    with emosteer.steer(model, vectors, {"joy": 2.0}):
        steered = block_outputs(arch, model, ids)
        assert logits_of(model, ids).dtype == dtype
    assert stream_of(steered[1]).dtype == dtype
    assert torch.equal(stream_of(steered[1])[:, 1:], stream_of(plain[1])[:, 1:] + delta.to(dtype))


@pytest.mark.parametrize(
    ("tone", "batches"), [({"joy": 2.0}, (3, 1, 2)), ([{"joy": 2.0}] * 2, (2,))], ids=["one tone", "a tone a row"]
)
def test_one_steering_serves_passes_of_different_dtypes_and_batches(tone, batches):
    model, twin = copy.deepcopy(built("llama")), copy.deepcopy(built("llama"))
    vectors, delta = exact(made_for("llama"), 1)
    with emosteer.steer(model, vectors, tone):
        for dtype in (torch.float32, torch.bfloat16, torch.float32):
            for rows in batches:
                ids = some_ids(9, rows=rows)
                steered = block_outputs("llama", model.to(dtype), ids)[1]
                plain = block_outputs("llama", twin.to(dtype), ids)[1]
                assert steered.dtype == dtype
                assert torch.equal(steered[:, 1:], plain[:, 1:] + delta.to(dtype))


def test_gradients_flow_through_a_steered_model_also_after_a_pass_in_inference_mode():
    model, ids = copy.deepcopy(built("llama")).to(torch.bfloat16), some_ids(9, rows=2)
    with emosteer.steer(model, made_for("llama"), [JOY, FEAR]):
        with torch.inference_mode():
            model(ids)
        model(ids).logits.float().square().mean().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient is not None
    assert float(gradient.abs().max()) > 0


# The sink and the padding.


@every_architecture
def test_the_first_token_of_a_sequence_is_not_steered(arch):
    model, ids = built(arch), some_ids(9, rows=2)
    plain = block_outputs(arch, model, ids)
    with steer(arch, JOY):
        steered = block_outputs(arch, model, ids)
    for before, after in zip(plain, steered, strict=True):
        # Not to the bit: a mixture of experts computes together the tokens that choose the same expert.
        torch.testing.assert_close(stream_of(after)[:, 0], stream_of(before)[:, 0], rtol=1e-5, atol=1e-6)
    assert (stream_of(steered[1]) - stream_of(plain[1]))[:, 1:].norm(dim=-1).min() > 1e-3


@pytest.mark.parametrize("rows", [[JOY, JOY, JOY], JOY], ids=["a tone a row", "one tone"])
@every_architecture
def test_padding_on_the_left_and_the_first_real_token_after_it_are_not_steered(arch, rows):
    model = built(arch)
    lengths = [9, 5, 1]
    ids, mask = padded([some_ids(length, seed=length) for length in lengths])
    plain = block_outputs(arch, model, ids, attention_mask=mask)
    with steer(arch, rows):
        steered = block_outputs(arch, model, ids, attention_mask=mask)
    change = (stream_of(steered[1]) - stream_of(plain[1])).norm(dim=-1)  # the first layer that joy steers
    for row, length in enumerate(lengths):
        sink = 9 - length
        assert float(change[row, : sink + 1].max()) == 0.0
        assert (change[row, sink + 1 :] > 1e-3).all()


@every_architecture
def test_real_tokens_before_padding_on_the_right_are_steered_like_the_row_alone(arch):
    model = built(arch)
    ids = nn.functional.pad(some_ids(6), (0, 3))
    mask = torch.tensor([[1] * 6 + [0] * 3])
    with steer(arch, JOY):
        steered = logits_of(model, ids, attention_mask=mask)
    torch.testing.assert_close(steered[:, :6], expected_logits(arch, ids[:, :6], JOY), atol=1e-5, rtol=1e-5)


# Off is off.


@pytest.mark.parametrize("tone", [None, {}, {"joy": 0}, {"joy": 0.0, "fear": 0.0}, [None, None], [{"joy": 0.0}, {}]])
def test_no_tone_installs_nothing_and_changes_no_bit(tone):
    model, ids = built("llama"), some_ids(9, rows=2)
    hooks, plain = hooks_on(model), logits_of(model, ids)
    with steer("llama", tone):
        assert hooks_on(model) == hooks
        assert torch.equal(logits_of(model, ids), plain)


def test_a_steering_that_was_never_entered_does_nothing():
    model, ids = built("llama"), some_ids(9)
    with left_as_it_was(model, ids):
        steer("llama", JOY)


@every_architecture
def test_the_model_is_as_it_was_after_the_block(arch):
    model, ids = built(arch), some_ids(9)
    with left_as_it_was(model, ids), steer(arch, JOY):
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@two_architectures
def test_the_model_is_as_it_was_after_an_error_in_the_block(arch, error):
    model, ids = built(arch), some_ids(9)
    with left_as_it_was(model, ids), pytest.raises(error), steer(arch, JOY):  # noqa: PT012
        logits_of(model, ids)
        raise error


@pytest.mark.parametrize("place", ["stopping criterion", "block", "streamer"])
@two_architectures
def test_the_model_is_as_it_was_after_ctrl_c_inside_generate(arch, place):
    model, ids, calls = built(arch), some_ids(9), []

    def interrupt(*_args, **_options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    class Streamer:
        put = end = staticmethod(interrupt)

    def generate():
        options = {"stopping criterion": {"stopping_criteria": [criterion]}, "streamer": {"streamer": Streamer()}}
        ones = torch.ones_like(ids)
        model.generate(ids, attention_mask=ones, max_new_tokens=9, min_new_tokens=9, **options.get(place, {}))

    def criterion(ids, _scores, **_options):
        interrupt()
        return torch.zeros(ids.shape[0], dtype=torch.bool)

    with left_as_it_was(model, ids):
        own = blocks_of(arch, model)[2].register_forward_hook(interrupt) if place == "block" else None
        with pytest.raises(KeyboardInterrupt), steer(arch, JOY):
            generate()
        if own:
            own.remove()
    assert len(calls) >= 3


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("failing", [1, 2])
def test_the_model_is_as_it_was_after_a_failure_while_installing(monkeypatch, failing, error):
    model, ids = built("llama"), some_ids(9)
    register, calls = nn.Module.register_forward_hook, []

    def fails(self, *args, **options):
        calls.append(self)
        if len(calls) == failing:
            raise error("no hooks today")
        return register(self, *args, **options)

    with left_as_it_was(model, ids):
        with monkeypatch.context() as patch, pytest.raises(error):  # noqa: PT012
            patch.setattr(nn.Module, "register_forward_hook", fails)
            with steer("llama", JOY):
                pytest.fail("the block was entered")
        assert len(calls) == failing
        with steer("llama", FEAR):  # and nothing of it is still in force
            torch.testing.assert_close(
                logits_of(model, ids), expected_logits_beside("llama", ids, FEAR), atol=1e-5, rtol=1e-5
            )


def expected_logits_beside(arch: str, ids, tone) -> torch.Tensor:
    """Like `expected_logits`, on a copy of the model without its hooks, for use while it is steered."""
    twin = AutoModelForCausalLM.from_config(built(arch).config).eval()
    twin.load_state_dict(built(arch).state_dict())
    with added(blocks_of(arch, twin), deltas(made_for(arch), tone)):
        return logits_of(twin, ids, use_cache=False)


# Blocks in blocks.


@four_architectures
def test_nested_blocks_add_up_and_unwind_in_order(arch):
    model, ids = built(arch), some_ids(9)
    plain = logits_of(model, ids)
    alone, both = expected_logits(arch, ids, JOY), expected_logits(arch, ids, {"joy": 1.0, "fear": 1.0})
    with left_as_it_was(model, ids):
        with steer(arch, JOY):
            with steer(arch, FEAR):  # 1.5 of joy and −0.5 of it are 1.0
                torch.testing.assert_close(logits_of(model, ids), both, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(logits_of(model, ids), alone, atol=1e-5, rtol=1e-5)
        assert torch.equal(logits_of(model, ids), plain)


def test_blocks_that_are_left_in_the_wrong_order_leave_the_right_tone():
    model, ids = built("llama"), some_ids(9)
    expected = expected_logits("llama", ids, FEAR)
    with left_as_it_was(model, ids):
        outer, inner = steer("llama", JOY), steer("llama", FEAR)
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        torch.testing.assert_close(logits_of(model, ids), expected, atol=1e-5, rtol=1e-5)
        inner.__exit__(None, None, None)


def test_one_steering_cannot_be_entered_twice_but_again_after_it_ended():
    model, ids = built("llama"), some_ids(9)
    expected = expected_logits("llama", ids, JOY)
    with left_as_it_was(model, ids):
        steering = steer("llama", JOY)
        with steering:
            with pytest.raises(ToneError, match="already in force"):
                steering.__enter__()
            torch.testing.assert_close(logits_of(model, ids), expected, atol=1e-5, rtol=1e-5)
        with steering:
            torch.testing.assert_close(logits_of(model, ids), expected, atol=1e-5, rtol=1e-5)


def test_two_models_that_are_steered_at_once_each_have_their_own_tone():
    ids = some_ids(9)
    with steer("llama", JOY), steer("gpt2", FEAR):
        llama, gpt2 = logits_of(built("llama"), ids), logits_of(built("gpt2"), ids)
    torch.testing.assert_close(llama, expected_logits("llama", ids, JOY), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gpt2, expected_logits("gpt2", ids, FEAR), atol=1e-5, rtol=1e-5)


def test_a_copy_that_is_made_inside_the_block_is_steered_until_the_block_ends():
    model, ids = copy.deepcopy(built("llama")), some_ids(9)
    plain = logits_of(model, ids)
    with left_as_it_was(model, ids):
        with emosteer.steer(model, made_for("llama"), JOY):
            twin = copy.deepcopy(model)
            steered = logits_of(model, ids)
            assert torch.equal(logits_of(twin, ids), steered)
        assert torch.equal(logits_of(twin, ids), plain)
    with torch.no_grad():
        twin.get_input_embeddings().weight.zero_()
    assert torch.equal(logits_of(model, ids), plain)


# Generation. Every way of decoding must say what one pass over the finished row says, steered by hand.


def check_row(arch, output, row, prompt, tone, *, since=1):
    """Row `row` of what was generated is what the prompt alone, steered by hand, would have said at each step."""
    new = output.sequences[row, -len(output.logits) :]
    whole = torch.cat([prompt, new[None]], 1)
    expected = expected_logits(arch, whole, tone, since=since)[0, prompt.shape[1] - 1 : -1]
    torch.testing.assert_close(torch.stack([step[row] for step in output.logits]), expected, atol=1e-4, rtol=1e-4)


DECODING = {
    "cached": {},
    "uncached": {"use_cache": False},
    "chunks of 4": {"prefill_chunk_size": 4},
    "chunks of 7, so that the last holds one token": {"prefill_chunk_size": 7},
    "token by token": {"prefill_chunk_size": 1},
    "sampled": {"do_sample": True, "temperature": 0.7, "top_k": 0},
}


@pytest.mark.parametrize("decoding", few(DECODING, "cached", "chunks of 4", "token by token"))
@every_architecture
def test_rows_of_a_batch_with_padding_on_the_left_equal_each_row_alone_in_its_tone(arch, decoding):
    prompts = [some_ids(length, seed=length) for length in (8, 3, 5, 1)]
    ids, mask = padded(prompts)
    torch.manual_seed(5)
    with steer(arch, TONES):
        output = generate(built(arch), ids, mask, **DECODING[decoding])
    for row, (prompt, tone) in enumerate(zip(prompts, TONES, strict=True)):
        check_row(arch, output, row, prompt, tone)
    if decoding != "sampled":
        assert not torch.equal(generate(built(arch), ids, mask).sequences, output.sequences)


@pytest.mark.parametrize("decoding", ["cached", "uncached", "sampled"])
@each(STATEFUL)
def test_models_that_carry_a_state_instead_of_a_cache_are_steered_at_every_new_token(arch, decoding):
    ids = some_ids(8)
    torch.manual_seed(5)
    with steer(arch, FEAR):
        output = generate(built(arch), ids, **DECODING[decoding])
    check_row(arch, output, 0, ids, FEAR)


def state_of(arch: str, output) -> dict:
    """What a model that carries a state has to be given to go on."""
    name = "cache_params" if arch == "mamba" else "state"
    return {name: getattr(output, name)}


@pytest.mark.parametrize(("arch", "new"), [("mamba", 1), ("rwkv", 1), ("rwkv", 3)])  # a plain mamba takes one at a time
def test_a_tone_that_begins_with_an_earlier_state_is_given_to_all_new_tokens(arch, new):
    model, ids = built(arch), some_ids(8 + new)
    with torch.no_grad():
        first = model(ids[:, :8], use_cache=True)
    with steer(arch, FEAR):
        found = logits_of(model, ids[:, 8:], use_cache=True, **state_of(arch, first))
    expected = expected_logits(arch, ids, FEAR, since=8)[:, 8:]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@each(STATEFUL)
def test_sequences_that_take_turns_each_go_on_from_their_own_state(arch):
    model, texts = built(arch), [some_ids(9, seed=3), some_ids(9, seed=5)]
    with steer(arch, FEAR), torch.no_grad():
        begun = [model(text[:, :8], use_cache=True) for text in texts]
        found = [
            model(text[:, 8:], use_cache=True, **state_of(arch, state)).logits
            for text, state in zip(texts, begun, strict=True)
        ]
    for text, logits in zip(texts, found, strict=True):
        torch.testing.assert_close(logits, expected_logits(arch, text, FEAR)[:, 8:], atol=1e-4, rtol=1e-4)


@every_architecture
def test_one_tone_for_all_rows_is_the_tone_of_each(arch):
    prompts = [some_ids(8), some_ids(3)]
    with steer(arch, FEAR):
        output = generate(built(arch), *padded(prompts))
    for row, prompt in enumerate(prompts):
        check_row(arch, output, row, prompt, FEAR)


@pytest.mark.parametrize("decoding", [name for name in DECODING if name != "sampled"])
@four_architectures
def test_greedy_tokens_are_the_same_whatever_the_decoding(arch, decoding):
    prompt = some_ids(8)
    with steer(arch, JOY):
        output = generate(built(arch), prompt, **DECODING[decoding])
    with added(blocks_of(arch, built(arch)), deltas(made_for(arch), JOY)):
        expected = generate(built(arch), prompt, use_cache=False)
    assert torch.equal(output.sequences, expected.sequences)


def test_sampling_with_a_seed_draws_the_same_tokens_as_the_hand_written_hook():
    prompt = some_ids(8)
    with steer("llama", JOY):
        torch.manual_seed(7)
        sampled = generate(built("llama"), prompt, do_sample=True).sequences
    with added(blocks_of("llama", built("llama")), deltas(made_for("llama"), JOY)):
        torch.manual_seed(7)
        expected = generate(built("llama"), prompt, do_sample=True, use_cache=False).sequences
    assert torch.equal(sampled, expected)


@pytest.mark.parametrize("returned", [1, 2])
@four_architectures
def test_beams_have_the_tone_of_their_row(arch, returned):
    prompts = [some_ids(6, seed=seed) for seed in (3, 4, 5)]
    options = {"num_beams": 3, "num_return_sequences": returned, "max_new_tokens": 6, "do_sample": False}
    with steer(arch, TONES[:3]):
        found = generate(built(arch), torch.cat(prompts), **options).sequences
    for row, (prompt, tone) in enumerate(zip(prompts, TONES[:3], strict=True)):
        with added(blocks_of(arch, built(arch)), deltas(made_for(arch), tone)):
            expected = generate(built(arch), prompt, **options, use_cache=False).sequences
        assert torch.equal(found[row * returned : (row + 1) * returned], expected)


@four_architectures
def test_returned_sequences_have_the_tone_of_their_row(arch):
    prompts = [some_ids(8), some_ids(5), some_ids(3)]
    torch.manual_seed(11)
    with steer(arch, TONES[:3]):
        output = generate(built(arch), *padded(prompts), do_sample=True, num_return_sequences=2)
    for row in range(6):
        check_row(arch, output, row, prompts[row // 2], TONES[row // 2])


@each([arch for arch in ARCHITECTURES if arch != "mpt"])
def test_prompt_lookup_decoding_says_the_same_as_without(arch):
    prompt = some_ids(4).repeat(1, 4)  # repeats itself, so that there is something to look up
    options = {"max_new_tokens": 16, "min_new_tokens": None, "do_sample": False}
    passes = []
    handle = built(arch).register_forward_pre_hook(lambda _m, _a, kwargs: passes.append(kwargs), with_kwargs=True)
    with steer(arch, JOY):
        output = generate(built(arch), prompt, prompt_lookup_num_tokens=4, **options)
    handle.remove()
    assert any(0 < kwargs["input_ids"].shape[1] - 1 < 8 for kwargs in passes)  # candidates were tried
    check_row(arch, output, 0, prompt, JOY)
    with added(blocks_of(arch, built(arch)), deltas(made_for(arch), JOY)):
        expected = generate(built(arch), prompt, use_cache=False, **options)
    assert torch.equal(output.sequences, expected.sequences)


@four_architectures
def test_embeddings_in_the_place_of_tokens_are_steered_alike(arch):
    prompts = [some_ids(8), some_ids(3)]
    ids, mask = padded(prompts)
    embeddings = built(arch).get_input_embeddings()(ids).detach()
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    with steer(arch, TONES[:2]):
        output = built(arch).generate(
            inputs_embeds=embeddings, attention_mask=mask, output_logits=True, return_dict_in_generate=True, **options
        )
    for row, prompt in enumerate(prompts):
        check_row(arch, output, row, prompt, TONES[row])


@pytest.mark.parametrize("new", [1, 4])
@each([arch for arch in ARCHITECTURES if arch != "mpt"])
def test_a_call_that_goes_on_with_an_earlier_cache_steers_all_new_tokens(arch, new):
    prompts = [some_ids(8), some_ids(3)]
    with steer(arch, TONES[:2]):
        first = generate(built(arch), *padded(prompts))
        ids = torch.cat([first.sequences, some_ids(new, seed=9, rows=2)], 1)
        mask = (ids != 0).long()
        second = generate(built(arch), ids, mask, past_key_values=first.past_key_values)
    for row, prompt in enumerate(prompts):
        check_row(arch, second, row, ids[row : row + 1, -(prompt.shape[1] + 6 + new) :], TONES[row])


@four_architectures
def test_a_tone_that_begins_with_an_earlier_cache_is_given_to_the_new_tokens_only(arch):
    first = generate(built(arch), some_ids(8))
    ids = torch.cat([first.sequences, some_ids(3, seed=9)], 1)
    read = first.past_key_values.get_seq_length()
    with steer(arch, FEAR):
        second = generate(built(arch), ids, past_key_values=first.past_key_values)
    check_row(arch, second, 0, ids, FEAR, since=read)


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_a_number_of_tones_that_does_not_fit_the_batch_is_an_error_and_leaves_the_model_alone(rows):
    model, ids = built("llama"), some_ids(9, rows=rows)
    with (
        left_as_it_was(model, ids),
        pytest.raises(ToneError, match=f"2 tones for a batch of {rows} rows"),
        steer("llama", [JOY, FEAR]),
    ):
        logits_of(model, ids)


@four_architectures
def test_a_row_without_a_tone_is_bit_identical_to_the_plain_model(arch):
    model, ids = built(arch), some_ids(9, rows=2)
    plain = logits_of(model, ids)
    with steer(arch, [JOY, None]):
        steered = logits_of(model, ids)
    assert torch.equal(steered[1], plain[1])
    assert not torch.equal(steered[0], plain[0])


@four_architectures
def test_chosen_layers_are_those_that_are_steered(arch):
    model, ids = built(arch), some_ids(9)
    plain = block_outputs(arch, model, ids)
    with steer(arch, JOY, layers=[2]):
        steered = block_outputs(arch, model, ids)
    assert [torch.equal(stream_of(a), stream_of(b)) for a, b in zip(plain, steered, strict=True)] == [True] * 2 + [
        False
    ] * 2


def test_vectors_of_a_model_of_another_shape_are_refused():
    wider = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **COMMON, **{**LLAMA, "hidden_size": 64}))
    with pytest.raises(IncompatibleModelError, match=r"width 32.*width 64"):
        emosteer.steer(wider, made_for("llama"), JOY)


# Threads and tasks.


@two_architectures
def test_threads_that_steer_one_model_at_once_each_hear_their_own_tone(arch):
    model, ids = built(arch), some_ids(9, rows=2)
    tones = [JOY, FEAR, None, [CALM, JOY]]
    alone = []
    for tone in tones:
        with steer(arch, tone):
            alone.append(logits_of(model, ids))
    barrier = threading.Barrier(len(tones), timeout=60)

    def work(tone, expected):
        def rounds():
            try:
                for _ in range(25):
                    barrier.wait()
                    with steer(arch, tone):
                        for _ in range(2):
                            assert torch.equal(logits_of(model, ids), expected)
            except BaseException:
                barrier.abort()
                raise

        return rounds

    with left_as_it_was(model, ids):
        in_threads(*map(work, tones, alone))


def test_generation_in_two_threads_at_once_equals_each_alone():
    model, prompt = built("llama"), some_ids(8)
    tones, alone = [JOY, FEAR], []
    for tone in tones:
        with steer("llama", tone):
            alone.append(generate(model, prompt, max_new_tokens=20).sequences)
    barrier, found = threading.Barrier(2, timeout=60), {}

    def work(i):
        def run():
            with steer("llama", tones[i]):
                barrier.wait()
                found[i] = generate(model, prompt, max_new_tokens=20).sequences

        return run

    with left_as_it_was(model, prompt):
        in_threads(work(0), work(1))
    assert not torch.equal(alone[0], alone[1])
    assert [torch.equal(found[i], alone[i]) for i in range(2)] == [True, True]


def test_a_block_that_ends_in_the_middle_of_another_threads_pass_does_not_disturb_it():
    model, ids = built("llama"), some_ids(9)
    plain = logits_of(model, ids)
    in_the_pass, over = threading.Event(), threading.Event()
    found = []

    def wait(_module, _args):
        if threading.current_thread() is not threading.main_thread():
            in_the_pass.set()
            assert over.wait(60)

    def other():
        found.append(logits_of(model, ids))

    with left_as_it_was(model, ids):
        steering = steer("llama", JOY)
        steering.__enter__()
        # First in line, so that the steering's own hook on the decoder is still to come when the block ends.
        own = model.get_decoder().register_forward_pre_hook(wait, prepend=True)
        failed: list[BaseException] = []

        def main_side():
            try:
                in_threads(other)
            except BaseException as error:
                failed.append(error)

        runner = threading.Thread(target=main_side)
        runner.start()
        assert in_the_pass.wait(60)
        steering.__exit__(None, None, None)
        over.set()
        runner.join()
        own.remove()
    assert failed == []
    assert torch.equal(found[0], plain)


def test_a_thread_is_steered_if_it_is_given_the_context_and_not_otherwise():
    model, ids, heard = built("llama"), some_ids(9), {}
    plain = logits_of(model, ids)
    with steer("llama", JOY):
        here = logits_of(model, ids)
        context = contextvars.copy_context()
        in_threads(
            lambda: heard.update(bare=logits_of(model, ids)),
            lambda: heard.update(given=context.run(logits_of, model, ids)),
        )
    assert not torch.equal(here, plain)
    assert torch.equal(heard["bare"], plain)
    assert torch.equal(heard["given"], here)


def test_two_threads_in_one_block_each_find_their_own_sinks():
    model, rows = built("llama"), [some_ids(8), some_ids(3)]
    ids, mask = padded(rows)
    below, go_on = threading.Event(), threading.Event()
    heard = {}

    def wait(_module, _args):  # after the steered tokens of this pass were worked out and before they are steered
        if threading.current_thread() is not threading.main_thread():
            below.set()
            assert go_on.wait(60)

    handle = blocks_of("llama", model)[0].register_forward_pre_hook(wait)
    with steer("llama", JOY):
        context = contextvars.copy_context()
        beside = threading.Thread(
            target=lambda: heard.update(padded=context.run(logits_of, model, ids, attention_mask=mask))
        )
        beside.start()
        assert below.wait(60)
        here = logits_of(model, some_ids(5))
        go_on.set()
        beside.join()
    handle.remove()
    torch.testing.assert_close(here, expected_logits("llama", some_ids(5), JOY), atol=1e-5, rtol=1e-5)
    for found, row in zip(heard["padded"], rows, strict=True):
        expected = expected_logits("llama", row, JOY)[0]
        torch.testing.assert_close(found[-row.shape[1] :], expected, atol=1e-4, rtol=1e-4)


def test_tasks_that_take_turns_on_one_model_each_hear_their_own_tone():
    model, ids = built("llama"), some_ids(9)
    tones, alone = [JOY, FEAR, None], []
    for tone in tones:
        with steer("llama", tone):
            alone.append(logits_of(model, ids))

    async def task(i):
        heard = []
        with steer("llama", tones[i]):
            for _ in range(5):
                await asyncio.sleep(0)  # the other tasks run here, inside their own blocks
                heard.append(torch.equal(logits_of(model, ids), alone[i]))
            heard.append(torch.equal(await asyncio.to_thread(logits_of, model, ids), alone[i]))
        return heard

    async def main():
        return await asyncio.gather(*(task(i) for i in range(len(tones))))

    with left_as_it_was(model, ids):
        assert asyncio.run(main()) == [[True] * 6] * 3


# Rows that are given, and their copies.


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"do_sample": True, "num_return_sequences": 2}])
@pytest.mark.parametrize("name", ["input_ids", "inputs", "inputs_embeds", "by position"])
def test_tones_are_counted_against_the_rows_that_generate_is_given_not_against_its_copies(name, options):
    model, ids = built("llama"), some_ids(6, rows=4)
    given = model.get_input_embeddings()(ids).detach() if name == "inputs_embeds" else ids
    args, inputs = ([given], {}) if name == "by position" else ([], {name: given})
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 3, "pad_token_id": 0, **options}
    with (
        left_as_it_was(model, ids),
        steer("llama", [JOY, FEAR]),
        pytest.raises(ToneError, match=r"2 tones for a batch of 4 rows\. Give one for each row"),
    ):
        model.generate(*args, **inputs, **options)
    with steer("llama", [JOY, FEAR, None, CALM]):
        model.generate(*args, **inputs, **options)


@pytest.mark.parametrize("rows", [1, 2, 4, 6])
def test_a_pass_outside_generate_has_a_tone_for_each_of_its_rows(rows):
    model, ids = built("llama"), some_ids(6, rows=rows)
    with steer("llama", [JOY, FEAR]):
        if rows == 2:
            assert logits_of(model, ids).shape[0] == 2
        else:
            with pytest.raises(ToneError, match=f"2 tones for a batch of {rows} rows"):
                logits_of(model, ids)


@pytest.mark.parametrize("cache", ["static", "dynamic"])
@pytest.mark.parametrize("told", ["by a mask", "by the padding token"])
@two_architectures
def test_padding_is_found_without_a_mask_where_generate_finds_it(arch, told, cache):
    model, prompts = built(arch), [some_ids(8), some_ids(3)]
    ids, mask = padded(prompts)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "disable_compile": True}
    options |= {"return_dict_in_generate": True, "output_logits": True}
    with steer(arch, [FEAR, FEAR]):
        output = model.generate(
            ids,
            **({"attention_mask": mask} if told == "by a mask" else {}),
            cache_implementation=cache if cache == "static" else None,
            **options,
        )
    for row, prompt in enumerate(prompts):
        check_row(arch, output, row, prompt, FEAR)
