"""What is done to the stream beside adding to it: turned, ablated, set to a level. Checked in the stream itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import emosteer
from emosteer.errors import ToneError
from emosteer.schedules import ramp
from emosteer.vectors.types import Dose
from tests.oracle import (
    block_outputs,
    blocks_of,
    built,
    deltas,
    generate,
    hooks_on,
    logits_of,
    made_for,
    padded,
    some_ids,
    stream_of,
)

architectures = pytest.mark.parametrize("arch", ["llama", "gpt2", "falcon"])


def vectors_of(arch: str) -> emosteer.EmotionVectors:
    """Joy and fear that lean on each other, as emotions do."""
    vectors = made_for(arch)
    fear = torch.nn.functional.normalize(vectors.directions["fear"] + 0.8 * vectors.directions["joy"], dim=-1)
    return replace(vectors, directions={**vectors.directions, "fear": fear})


def streams(arch, ids, tone=None, *, vectors=None, **options) -> list[torch.Tensor]:
    """The stream after each block, float64, `[rows, tokens, d_model]`."""
    with emosteer.steer(built(arch), vectors or vectors_of(arch), tone, **options):
        return [stream_of(output).double() for output in block_outputs(arch, built(arch), ids)]


def before_and_after(arch, ids, tone, layer, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """What block `layer` itself returned while steered, and what became of it."""
    seen = []
    with emosteer.steer(built(arch), options.pop("vectors", None) or vectors_of(arch), tone, **options):
        handle = blocks_of(arch, built(arch))[layer].register_forward_hook(
            lambda _m, _a, output: seen.append(stream_of(output).double()), prepend=True
        )
        try:
            after = stream_of(block_outputs(arch, built(arch), ids)[layer]).double()
        finally:
            handle.remove()
    return seen[0], after


# Turned, at the same length.


@architectures
def test_norm_preserving_turns_the_stream_and_keeps_its_length(arch):
    ids, vectors = some_ids(9, rows=2), vectors_of(arch)
    for layer, delta in deltas(vectors, {"joy": 2.0}).items():
        before, after = before_and_after(arch, ids, {"joy": 2.0}, layer, operation="norm_preserving")
        assert torch.equal(after[:, 0], before[:, 0])
        torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1), atol=0, rtol=1e-6)
        moved = before[:, 1:] + delta
        expected = moved * (before[:, 1:].norm(dim=-1) / moved.norm(dim=-1)).unsqueeze(-1)
        torch.testing.assert_close(after[:, 1:], expected, atol=1e-5, rtol=1e-5)
        assert float((after - before)[:, 1:].norm(dim=-1).min()) > 1e-2


def test_norm_preserving_goes_with_places_and_rows():
    ids, vectors = some_ids(9, rows=2), vectors_of("llama")
    rows = [{"joy": 2.0}, {"joy": -1.0}]
    before, after = before_and_after(
        "llama", ids, rows, 1, operation="norm_preserving", schedule=lambda places: (places + 9) / 9
    )
    for row, tone in enumerate(rows):
        moved = before[row] + deltas(vectors, tone)[1] * torch.arange(9).double().unsqueeze(-1) / 9
        expected = moved * (before[row].norm(dim=-1) / moved.norm(dim=-1)).unsqueeze(-1)
        torch.testing.assert_close(after[row], expected, atol=1e-5, rtol=1e-5)


# Ablated.


@architectures
def test_ablation_leaves_nothing_along_the_direction_after_any_layer(arch):
    ids, vectors = some_ids(9, rows=2), vectors_of(arch)
    plain = streams(arch, ids)
    ablated = streams(arch, ids, {"joy": 1.0}, operation="ablate")
    for layer in range(4):
        direction = vectors.directions["joy"][layer].double()
        left = (ablated[layer] @ direction)[:, 1:].abs().max()
        assert left < 1e-5 * plain[layer].norm(dim=-1).max()
        assert (plain[layer] @ direction)[:, 1:].abs().max() > 1e-2


@pytest.mark.parametrize(("joy", "fear"), [(1.0, 1.0), (0.5, 0.25), (1.0, 0.5), (0.3, 0.0)])
@architectures
def test_ablation_takes_the_share_of_each_component_and_touches_no_other(arch, joy, fear):
    ids, vectors = some_ids(9, rows=2), vectors_of(arch)
    for layer in range(4):
        before, after = before_and_after(arch, ids, {"joy": joy, "fear": fear}, layer, operation="ablate")
        both = torch.stack([vectors.directions[name][layer].double() for name in ("joy", "fear")])
        if not fear:
            both = both[:1]
        had, has = before[:, 1:] @ both.T, after[:, 1:] @ both.T
        keep = torch.tensor([1 - joy, 1 - fear])[: len(both)].double()
        torch.testing.assert_close(has, had * keep, atol=1e-5, rtol=1e-5)
        basis, _ = torch.linalg.qr(both.T)  # all that changed lies in what the directions span
        step = (after - before)[:, 1:]
        torch.testing.assert_close(step, step @ basis @ basis.T, atol=1e-5, rtol=0)
        assert torch.equal(after[:, 0], before[:, 0])


def test_ablation_of_one_direction_is_the_projection_of_the_textbook():
    ids, direction = some_ids(9), vectors_of("llama").directions["joy"][2].double()
    before, after = before_and_after("llama", ids, {"joy": 1.0}, 2, operation="ablate")
    projector = torch.eye(32).double() - torch.outer(direction, direction)
    torch.testing.assert_close(after[:, 1:], before[:, 1:] @ projector, atol=1e-5, rtol=1e-5)


def test_ablation_at_chosen_layers_leaves_the_others_alone():
    ids, vectors = some_ids(9), vectors_of("llama")
    for layer in range(4):
        before, after = before_and_after("llama", ids, {"joy": 1.0}, layer, operation="ablate", layers=[2])
        assert torch.equal(before, after) == (layer != 2)
    assert float((after @ vectors.directions["joy"][3].double())[:, 1:].abs().max()) > 1e-2


# Set to a level.


def centred(arch: str) -> emosteer.EmotionVectors:
    center = 3 * torch.randn(4, 32, generator=torch.Generator().manual_seed(2))
    return replace(vectors_of(arch), center=center)


@pytest.mark.parametrize("strength", [1.0, -0.5, 0.0])
@pytest.mark.parametrize("center", [True, False], ids=["with a center", "without"])
@architectures
def test_projection_sets_the_component_to_the_level_that_the_dose_gives_neutral_text(arch, center, strength):
    ids, vectors = some_ids(9, rows=2), centred(arch) if center else vectors_of(arch)
    dose = vectors.doses["joy"]
    for layer, weight in zip(dose.layers, dose.weights, strict=True):
        before, after = before_and_after(arch, ids, {"joy": strength}, layer, operation="project", vectors=vectors)
        direction = vectors.directions["joy"][layer].double()
        neutral = float(vectors.center[layer].double() @ direction) if center else 0.0
        level = neutral + strength * dose.dose * weight * float(vectors.residual_norm[layer])
        has = after[:, 1:] @ direction
        torch.testing.assert_close(has, torch.full_like(has, level), atol=1e-5, rtol=1e-5)
        step = (after - before)[:, 1:]
        torch.testing.assert_close(step, (step @ direction).unsqueeze(-1) * direction, atol=1e-5, rtol=0)
        assert torch.equal(after[:, 0], before[:, 0])
        assert float(step.norm(dim=-1).max()) > 1e-2


def test_projection_sets_two_directions_that_lean_on_each_other_at_once():
    ids, vectors = some_ids(9), centred("llama")
    layer, strengths = 1, {"joy": 0.75, "fear": -1.0}  # which both doses steer
    _, after = before_and_after("llama", ids, strengths, layer, operation="project", vectors=vectors)
    for name, strength in strengths.items():
        dose, direction = vectors.doses[name], vectors.directions[name][layer].double()
        size = strength * dose.dose * dose.weights[dose.layers.index(layer)] * float(vectors.residual_norm[layer])
        level = size + float(vectors.center[layer].double() @ direction)
        has = after[0, 1:] @ direction
        torch.testing.assert_close(has, torch.full_like(has, level), atol=1e-5, rtol=1e-5)


def test_projection_at_chosen_layers_shares_the_dose_among_them():
    ids, vectors = some_ids(9), vectors_of("llama")
    _, after = before_and_after("llama", ids, {"joy": 1.0}, 3, operation="project", layers=[0, 3])
    level = 0.5 * (1.5 / 2) * float(vectors.residual_norm[3])
    has = after[0, 1:] @ vectors.directions["joy"][3].double()
    torch.testing.assert_close(has, torch.full_like(has, level), atol=1e-5, rtol=1e-5)


# All of them.


OPERATIONS = ["norm_preserving", "ablate", "project"]


@pytest.mark.parametrize("operation", OPERATIONS)
@architectures
def test_each_row_has_its_own(arch, operation):
    prompts = [some_ids(7), some_ids(4, seed=4), some_ids(5, seed=5), some_ids(2, seed=6)]
    tones = [{"joy": 1.0}, {"fear": 0.5, "joy": 0.25}, None, {"calm": 1.0}]
    with emosteer.steer(built(arch), centred(arch), tones, operation=operation):
        together = generate(built(arch), *padded(prompts))
    for row, (prompt, tone) in enumerate(zip(prompts, tones, strict=True)):
        with emosteer.steer(built(arch), centred(arch), tone, operation=operation):
            alone = generate(built(arch), prompt, use_cache=False)
        assert torch.equal(together.sequences[row, 7:], alone.sequences[0, prompt.shape[1] :])
        logits = [torch.stack([step[i] for step in output.logits]) for output, i in ((together, row), (alone, 0))]
        torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("operation", OPERATIONS)
@architectures
def test_padding_and_the_first_real_token_are_left_alone(arch, operation):
    ids, mask = padded([some_ids(9), some_ids(5)])
    plain = stream_of(block_outputs(arch, built(arch), ids, attention_mask=mask)[1])
    with emosteer.steer(built(arch), vectors_of(arch), {"joy": 1.0}, operation=operation, layers=[1]):
        steered = stream_of(block_outputs(arch, built(arch), ids, attention_mask=mask)[1])
    changed = (steered - plain).norm(dim=-1) > 0
    assert changed.tolist() == [[t > 0 for t in range(9)], [t > 4 for t in range(9)]]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_stream_keeps_its_dtype(operation):
    model, ids = built("llama", torch.bfloat16), some_ids(9)
    vectors = replace(vectors_of("llama"), base_model=replace(vectors_of("llama").base_model, fingerprint=None))
    seen = []
    with emosteer.steer(model, vectors, {"joy": 1.0}, operation=operation, layers=[1]):
        handle = model.model.layers[1].register_forward_hook(
            lambda _m, _a, output: seen.append(output.double()), prepend=True
        )
        after = block_outputs("llama", model, ids)[1]
        handle.remove()
    assert after.dtype == torch.bfloat16
    direction, (before,), after = vectors.directions["joy"][1].double(), seen, after.double()
    close = 0.01 * float(before.norm(dim=-1).max())  # bfloat16 has 8 bits
    if operation == "norm_preserving":
        torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1), atol=0, rtol=0.01)
    else:
        level = 0.0 if operation == "ablate" else 0.5 * 1.5 * float(vectors.residual_norm[1])
        assert float(((after @ direction)[:, 1:] - level).abs().max()) < close
    assert not torch.equal(after, before)


@pytest.mark.parametrize("operation", ["norm_preserving", "ablate"])
@pytest.mark.parametrize("tone", [None, {"joy": 0.0}, [None]])
def test_strength_0_installs_nothing(operation, tone):
    model, ids = built("llama"), some_ids(9)
    hooks, plain = hooks_on(model), logits_of(model, ids)
    with emosteer.steer(model, vectors_of("llama"), tone, operation=operation):
        assert hooks_on(model) == hooks
        assert torch.equal(logits_of(model, ids), plain)


def test_no_tone_is_no_projection_either():
    assert not emosteer.steer(built("llama"), vectors_of("llama"), None, operation="project").plan.sites
    assert not emosteer.steer(built("llama"), vectors_of("llama"), [{}, None], operation="project").plan.sites


@pytest.mark.parametrize("operation", ["ablate", "project"])
def test_a_schedule_takes_a_share_of_the_step(operation):
    vectors = vectors_of("llama")
    ids = some_ids(9)
    before, after = before_and_after(
        "llama", ids, {"joy": 1.0}, 1, operation=operation, schedule=lambda places: (places + 9) / 9
    )
    _, full = before_and_after("llama", ids, {"joy": 1.0}, 1, operation=operation, layers=[1])
    direction = vectors.directions["joy"][1].double()
    level = 0.0 if operation == "ablate" else 0.5 * float(vectors.residual_norm[1])
    had = before[0, 1:] @ direction
    share = torch.arange(1, 9).double() / 9
    torch.testing.assert_close(after[0, 1:] @ direction, had + share * (level - had), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(after, full)


def test_operations_hold_in_the_cache_as_in_one_pass():
    for operation in OPERATIONS:
        found = []
        for cached in (True, False):
            with emosteer.steer(
                built("llama"), centred("llama"), {"joy": 1.0, "fear": 0.5}, operation=operation, schedule=ramp(3)
            ):
                found.append(generate(built("llama"), some_ids(7), use_cache=cached))
        assert torch.equal(found[0].sequences, found[1].sequences)
        torch.testing.assert_close(torch.cat(found[0].logits), torch.cat(found[1].logits), atol=1e-4, rtol=1e-4)


def test_an_operation_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ToneError, match=r"no operation 'multiply'.*add, norm_preserving, ablate, project"):
        emosteer.steer(built("llama"), made_for("llama"), {"joy": 1.0}, operation="multiply")


def test_the_doses_of_these_tests_are_what_they_are_taken_for():
    assert made_for("llama").doses["joy"] == Dose(0.5, (1, 2), (1.0, -0.5))
