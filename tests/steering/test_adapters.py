"""Adapters that put learned vectors before the tokens: the text is steered as without them."""

from __future__ import annotations

import copy

import pytest
import torch

import emosteer
from emosteer.errors import IncompatibleModelError, InputError
from emosteer.models.generation import context_length
from emosteer.models.token_positions import virtual_tokens
from tests.conftest import few, tiny_tokenizer
from tests.steering.test_ways import FEAR, GREEDY, NEW, by_hand, deltas, generate, ids_of, llama, padded, vectors

peft = pytest.importorskip("peft")

# Of peft and what it imports; an adapted model is not the one that the vectors were made from.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:These vectors were made from", "ignore:Position ids are not supported"),
]

VIRTUAL, PROMPT = 5, 9
KINDS = {
    "prompt tuning": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL),
    "p-tuning": lambda: peft.PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL, encoder_hidden_size=16
    ),
    "prefix tuning": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL),
}
each_kind = pytest.mark.parametrize("kind", few(KINDS, "prompt tuning", "prefix tuning"))


def adapted(kind: str):
    torch.manual_seed(2)
    model = peft.get_peft_model(copy.deepcopy(llama()), KINDS[kind]()).eval()
    with torch.no_grad():
        for parameter in model.prompt_encoder.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


def places(kind: str, begin: int, scope: str, ramp: int):
    """How much of the tone each token of a pass over a whole text gets, virtual tokens included."""
    virtual = 0 if kind == "prefix tuning" else VIRTUAL

    def gain(tokens):
        positions = torch.arange(tokens) - virtual
        answer = positions - begin
        factor = (answer / ramp).clamp(0, 1) if ramp else torch.ones(tokens)
        return factor * {"all": positions >= 0, "prompt": answer < 0, "generated": answer >= 0}[scope] * (positions > 0)

    return gain


def said_by_hand(model, kind: str, ids, scope: str, ramp: int) -> list[int]:
    """Greedily, with one pass over the whole text for each token."""
    blocks, begin = model.get_base_model().model.layers, ids.shape[1]
    with by_hand(blocks, deltas(FEAR), gain=places(kind, begin, scope, ramp)), torch.no_grad():
        for _ in range(NEW):
            ids = torch.cat([ids, model(input_ids=ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
    return ids[0, begin:].tolist()


@pytest.mark.parametrize("steered", few(["adapted model", "model inside"], "adapted model"))
@pytest.mark.parametrize(("scope", "ramp"), [("all", 0), ("prompt", 0), ("generated", 0), ("all", 4)])
@each_kind
def test_positions_are_those_of_the_text(kind, scope, ramp, steered):
    model = adapted(kind)
    expected = said_by_hand(model, kind, ids_of(PROMPT), scope, ramp)
    given = model if steered == "adapted model" else model.get_base_model()
    schedule = emosteer.schedules.ramp(ramp) if ramp else None
    with emosteer.steer(given, vectors(), FEAR, scope=scope, schedule=schedule):
        found = generate(model, ids_of(PROMPT))
    assert found[0, PROMPT:].tolist() == expected
    assert generate(model, ids_of(PROMPT))[0, PROMPT:].tolist() != expected


@pytest.mark.parametrize("scope", ["all", "generated"])
@each_kind
def test_padding_stands_between_the_virtual_tokens_and_the_text(kind, scope):
    model, lengths = adapted(kind), [PROMPT, 4]
    blocks = model.get_base_model().model.layers
    passes: list[torch.Tensor] = []
    with emosteer.steer(model, vectors(), [FEAR, FEAR], scope=scope):
        # Before and after the steering's own hook on the first block that is steered.
        handles = [blocks[0].register_forward_hook(lambda _m, _a, out: passes.append(out.clone()), prepend=True)]
        handles.append(blocks[0].register_forward_hook(lambda _m, _a, out: passes.append(out - passes.pop())))
        generate(model, padded([ids_of(length) for length in lengths]))
    for handle in handles:
        handle.remove()
    first, *others = [change.norm(dim=-1) > 1e-4 for change in passes]
    virtual = 0 if kind == "prefix tuning" else VIRTUAL
    for row, length in zip(first, lengths, strict=True):
        sink = virtual + PROMPT - length
        assert row.tolist() == [scope == "all" and position > sink for position in range(virtual + PROMPT)]
    assert len(others) == NEW - 1
    assert all(bool(one.all()) for one in others)


@each_kind
def test_a_pass_outside_generate_counts_alike(kind):
    model = adapted(kind)
    blocks = model.get_base_model().model.layers
    with by_hand(blocks, deltas(FEAR), gain=places(kind, PROMPT, "all", 0)), torch.no_grad():
        expected = model(input_ids=ids_of(PROMPT)).logits
    with emosteer.steer(model, vectors(), FEAR), torch.no_grad():
        assert torch.equal(model(input_ids=ids_of(PROMPT)).logits, expected)
        plainly = model.get_base_model()(input_ids=ids_of(PROMPT)).logits
    with by_hand(blocks, deltas(FEAR)), torch.no_grad():
        assert torch.equal(plainly, llama_logits(model))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def llama_logits(model):
    return model.get_base_model()(input_ids=ids_of(PROMPT)).logits


@pytest.mark.parametrize("kind", ["prompt tuning", "prefix tuning"])
def test_while_the_adapter_is_off_there_are_no_virtual_tokens(kind):
    model = adapted(kind)
    assert virtual_tokens(model) == VIRTUAL
    with model.disable_adapter():
        assert virtual_tokens(model) == 0
    assert virtual_tokens(model.get_base_model()) == virtual_tokens(llama()) == 0


@pytest.mark.parametrize("kind", ["prompt tuning", "prefix tuning"])
def test_explanations_and_answers_of_a_wrapped_model(kind):
    model = adapted(kind)
    steered = emosteer.SteeredModel(model, tiny_tokenizer(), vectors())
    prompt = steered.prompt("Well?")
    length = prompt["input_ids"].shape[1]
    answer = steered.generate(**prompt, emotion=FEAR, scope="generated", **GREEDY)
    assert answer[0, length:].tolist() == said_by_hand(model, kind, prompt["input_ids"], "generated", 0)
    with (
        by_hand(model.get_base_model().model.layers, deltas(FEAR), gain=places(kind, length, "generated", 0)),
        torch.no_grad(),
    ):
        ids = torch.cat(
            [prompt["input_ids"], torch.tensor([tiny_tokenizer()("Yes", add_special_tokens=False).input_ids])], 1
        )
        logits = model(input_ids=ids).logits[0, -4:-1].softmax(-1)
    expected = [float(row[token]) for row, token in zip(logits, ids[0, -3:].tolist(), strict=True)]
    assert steered.explain("Well?", "Yes", emotion=FEAR, recipe=None, scope="generated").toned == pytest.approx(
        expected, rel=1e-4
    )


def test_virtual_tokens_take_room_in_the_context():
    assert context_length(adapted("prompt tuning")) == context_length(llama()) - VIRTUAL
    steered = emosteer.SteeredModel(adapted("prompt tuning"), tiny_tokenizer(), vectors())
    with pytest.raises(InputError, match=r"251 tokens, the model's context ends at 251"):
        steered.generate(input_ids=ids_of(251), emotion=FEAR)


@pytest.mark.parametrize("kind", ["prompt tuning", "prefix tuning"])
def test_a_logits_processor_refuses_what_it_does_not_see(kind):
    with pytest.raises(IncompatibleModelError, match=r"virtual tokens before.*emosteer\.steer"):
        emosteer.EmotionLogitsProcessor(adapted(kind), vectors(), FEAR)
