"""The rules for hooks on the real embedded model; on tiny models of many architectures each has tests of its own."""

from __future__ import annotations

import pytest
import torch

import emosteer
from tests.conftest import few
from tests.oracle import added, along, deltas

pytestmark = pytest.mark.embedded

TONE = {"joy": 1.0, "sadness": -0.5}
PROMPTS = ["How was your morning?", "What is in the box?", "Tell me about the sea and the ships that cross it."]
NEW = 8


@pytest.fixture(scope="module")
def vectors(real):
    return real.vectors


@pytest.fixture(scope="module")
def prompts(embedded):
    _, tokenizer = embedded
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]
        for prompt in PROMPTS
    ]


def by_hand(model, ids, vectors, places, new=NEW):
    """Greedy tokens of uncached passes over one row, in the tone that `places` gives each of its tokens."""
    start = ids.shape[1]
    with added(model.model.layers, along(vectors, places, start, layers=30)):
        for _ in range(new):
            with torch.no_grad():
                following = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1].argmax(-1)
            ids = torch.cat([ids, following[:, None]], 1)
    return ids[0, start:].tolist()


def greedy(model, ids, **options):
    options = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": 0, **options}
    return model.generate(input_ids=ids, **options)[:, ids.shape[1] :].tolist()


def test_a_block_gives_its_plain_output_plus_the_delta_and_blocks_below_what_they_gave(embedded, vectors, prompts):
    model, _ = embedded

    def outputs():
        found = []
        handles = [block.register_forward_hook(lambda _m, _a, o: found.append(o)) for block in model.model.layers]
        with torch.no_grad():
            model(input_ids=prompts[0], use_cache=False)
        for handle in handles:
            handle.remove()
        return found

    plain = outputs()
    with emosteer.steer(model, vectors, TONE, layers=[15]):
        steered = outputs()
    assert all(torch.equal(one, other) for one, other in zip(plain[:15], steered[:15], strict=True))
    delta = 10 * deltas(vectors, TONE)[15].float()  # all of the dose at one layer of ten
    torch.testing.assert_close(steered[15][:, 1:], plain[15][:, 1:] + delta, rtol=1e-6, atol=1e-4)
    assert torch.equal(steered[15][:, 0], plain[15][:, 0])  # the attention sink
    assert all(torch.equal(one, other) for one, other in zip(plain, outputs(), strict=True))


@pytest.mark.parametrize(
    "options", few([{}, {"use_cache": False}, {"prefill_chunk_size": 5}, {"cache_implementation": "static"}], {})
)
def test_every_way_of_decoding_says_what_the_hand_written_hook_says(embedded, vectors, prompts, options):
    model, _ = embedded
    expected = by_hand(model, prompts[0], vectors, lambda _: TONE)
    assert expected != greedy(model, prompts[0])[0]
    with emosteer.steer(model, vectors, TONE):
        assert greedy(model, prompts[0], **options) == [expected]


@pytest.mark.parametrize(
    ("scope", "steered_at"), [("prompt", lambda place: place < 0), ("generated", lambda place: place >= 0)]
)
def test_scopes_are_counted_by_absolute_position(embedded, vectors, prompts, scope, steered_at):
    model, _ = embedded
    strong = {"joy": 2.0}
    expected = by_hand(model, prompts[0], vectors, lambda place: strong if steered_at(place) else {})
    with emosteer.steer(model, vectors, strong, scope=scope):
        assert greedy(model, prompts[0]) == [expected]
        assert greedy(model, prompts[0], prefill_chunk_size=prompts[0].shape[1] - 1) == [expected]


def test_keyframes_lead_from_one_tone_to_another(embedded, vectors, prompts):
    model, _ = embedded
    course = emosteer.Keyframes({0: {"sadness": 1.5}, 8: {"joy": 1.5}})

    def places(place):
        share = min(1.0, max(0.0, place / 8))
        return {"sadness": 1.5 * (1 - share), "joy": 1.5 * share}

    expected = by_hand(model, prompts[1], vectors, places)
    with emosteer.steer(model, vectors, course):
        assert greedy(model, prompts[1]) == [expected]


@pytest.mark.slow
def test_rows_with_padding_beams_and_returned_sequences_have_their_own_tone(embedded, vectors, prompts):
    model, tokenizer = embedded
    rows = [TONE, None, {"fear": 1.0}]
    alone = []
    for ids, tone in zip(prompts, rows, strict=True):
        with emosteer.steer(model, vectors, tone):
            alone.append(greedy(model, ids, num_beams=2, num_return_sequences=2))
    batch = tokenizer.pad({"input_ids": [ids[0].tolist() for ids in prompts]}, padding_side="left", return_tensors="pt")
    with emosteer.steer(model, vectors, rows):
        together = greedy(
            model, batch["input_ids"], attention_mask=batch["attention_mask"], num_beams=2, num_return_sequences=2
        )
    assert together == [sequence for row in alone for sequence in row]


@pytest.mark.slow
def test_nested_blocks_add_up_and_leave_the_model_as_it_was(embedded, vectors, prompts):
    model, _ = embedded
    plain = greedy(model, prompts[0])
    both, outer = (by_hand(model, prompts[0], vectors, lambda _, tone=tone: tone) for tone in (TONE, {"joy": 1.0}))
    with emosteer.steer(model, vectors, {"joy": 1.0}):
        with emosteer.steer(model, vectors, {"sadness": -0.5}):
            assert greedy(model, prompts[0]) == [both]
        assert greedy(model, prompts[0]) == [outer]
    assert greedy(model, prompts[0]) == plain
    assert "generate" not in model.__dict__
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
