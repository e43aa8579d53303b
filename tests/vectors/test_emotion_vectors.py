"""EmotionVectors in memory: what may be put together, algebra against closed forms, controls, whose vectors they are.

The card is here too, since it is written from them; the file format has tests of its own.
"""

from __future__ import annotations

import copy
import logging
import math
import pickle
import warnings
from dataclasses import asdict, replace

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM

import emosteer
from emosteer.errors import EmosteerWarning, FormatError, IncompatibleModelError, InputError, ToneError
from emosteer.models.fingerprint import BaseModel, base_model_of
from emosteer.vectors import card
from emosteer.vectors.emotion_vectors import EmotionVectors
from emosteer.vectors.types import FALLBACK_DOSE, Dose, EmotionInfo, fallback_dose
from tests.conftest import tiny_config, tiny_model

LAYERS, WIDTH = (1, 2, 4, 5), 8
BASE = BaseModel("llama", 6, WIDTH, repo_id="someone/tiny", fingerprint="a" * 64)


def rows(seed: int) -> torch.Tensor:
    return normalize(torch.randn(len(LAYERS), WIDTH, generator=torch.Generator().manual_seed(seed)), dim=-1)


def made(**changes) -> EmotionVectors:
    """Joy and fear with doses of their own on overlapping layers, calm without one."""
    parts = {
        "directions": {"joy": rows(1), "fear": rows(2), "calm": rows(3)},
        "residual_norm": torch.tensor([1.0, 2.0, 5.0, 9.0]),
        "layers": LAYERS,
        "base_model": BASE,
        "info": {"joy": EmotionInfo({"en": "joy"}, 0.75, -0.5, "A survey")},
        "doses": {
            "joy": Dose(0.5, (1, 2), (1.0, -0.5), cost=0.25, hit_rate=0.75, budget=0.5, stopped="budget"),
            "fear": Dose(0.375, (2, 5), (0.5, 2.0)),
        },
        "extraction": {"method": "mean_difference", "stability": {"joy": 0.9}},
        "measured": {"alignment": {"n": 28}},
        "license": "MIT",
    }
    return EmotionVectors(**{**parts, **changes})


def snapshot(value):
    """All that vectors hold, to the bit and in order, as plain data that can be compared."""
    if isinstance(value, EmotionVectors):
        return snapshot(asdict(value))
    if isinstance(value, dict):
        return [(key, snapshot(entry)) for key, entry in value.items()]
    return (value.dtype, value.tolist()) if torch.is_tensor(value) else value


# What may be put together.


def test_parts_that_fit_are_kept_as_given():
    vectors = made()
    assert vectors.emotions == ("joy", "fear", "calm")
    assert vectors.layers == LAYERS
    assert vectors.hidden_size == WIDTH
    assert torch.equal(vectors.directions["fear"], rows(2))
    assert vectors.info["joy"].valence == 0.75
    assert vectors.info["calm"] == EmotionInfo()
    assert set(vectors.doses) == {"joy", "fear"}


def test_a_dose_of_no_emotion_is_dropped():
    assert made(doses={"rage": Dose(1.0, (1,), (1.0,))}).doses == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"directions": {"joy": rows(1)[:3]}}, r"'joy' has the shape \[3, 8\], expected \[4, 8\]"),
        ({"directions": {"joy": rows(1)[:, :7]}}, r"'joy' has the shape \[4, 7\], expected \[4, 8\]"),
        ({"directions": {"joy": rows(1).flatten()}}, r"'joy' has the shape \[32\]"),
        ({"directions": {"joy": 1.01 * rows(1)}}, "'joy' are not finite or not of unit length"),
        ({"directions": {"joy": torch.zeros(4, 8)}}, "'joy' are not finite or not of unit length"),
        ({"directions": {"joy": torch.full((4, 8), float("nan"))}}, "'joy' are not finite or not of unit length"),
        ({"directions": {"Joy": rows(1)}}, "'Joy' is not a name.*lower-case"),
        ({"directions": {"../joy": rows(1)}}, "'../joy' is not a name"),
        ({"directions": {"": rows(1)}}, "'' is not a name"),
        ({"residual_norm": torch.ones(3)}, "residual norms must be 4 positive numbers"),
        ({"residual_norm": torch.tensor([1.0, 2.0, 0.0, 1.0])}, "residual norms must be 4 positive numbers"),
        ({"residual_norm": torch.tensor([1.0, -2.0, 3.0, 1.0])}, "residual norms must be 4 positive numbers"),
        ({"residual_norm": torch.tensor([1.0, float("nan"), 3.0, 1.0])}, "residual norms must be 4 positive numbers"),
        ({"residual_norm": torch.tensor([1.0, float("inf"), 3.0, 1.0])}, "residual norms must be 4 positive numbers"),
    ],
)
def test_parts_that_do_not_fit_are_an_error_that_says_which(changes, said):
    with pytest.raises(FormatError, match=said):
        made(**changes)


def test_vectors_cannot_be_changed_by_accident():
    vectors = made()
    with pytest.raises(AttributeError):
        vectors.layers = (0,)
    directions = {"joy": rows(1)}
    vectors = made(directions=directions)
    directions["fear"] = rows(2)
    assert vectors.emotions == ("joy",)


def test_repr_says_whose_they_are_and_how_large():
    assert repr(made()) == "EmotionVectors(someone/tiny: 3 emotions, 4 layers × 8)"
    assert repr(made(base_model=replace(BASE, repo_id=None))) == "EmotionVectors(llama: 3 emotions, 4 layers × 8)"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda vectors: pickle.loads(pickle.dumps(vectors))])
def test_vectors_can_be_pickled_and_copied(copied):
    vectors = made()
    again = copied(vectors)
    assert snapshot(again) == snapshot(vectors)
    assert again.directions["joy"] is not vectors.directions["joy"]


# Doses.


@pytest.mark.parametrize(
    ("layers", "depth", "steered"),
    [
        (range(30), 30, range(10, 20)),
        (range(4), 4, [1]),
        (range(6), 6, [2, 3]),
        (range(7), 7, [2, 3]),
        ([10, 11, 25], 30, [10, 11]),
        ([0, 29], 30, [0, 29]),  # none in the middle: all there are
        ([3], 4, [3]),
    ],
)
def test_the_fallback_dose_is_shared_by_the_middle_third_of_the_layers(layers, depth, steered):
    dose = fallback_dose(tuple(layers), depth)
    assert dose.layers == tuple(steered)
    assert dose.dose == FALLBACK_DOSE == 0.25
    assert dose.weights == pytest.approx([1 / len(dose.layers)] * len(dose.layers))
    assert dose.scope == "all"


def test_a_calibrated_dose_comes_before_the_fallback():
    vectors = made()
    assert vectors.dose("fear") == Dose(0.375, (2, 5), (0.5, 2.0))
    assert vectors.dose("calm") == Dose(0.25, (2,), (1.0,))  # of six layers 2 and 3 are the middle; 3 is not here


def test_deltas_are_dose_times_weight_times_norm_times_direction():
    vectors = made()
    joy = vectors.deltas("joy")
    assert list(joy) == [1, 2]
    assert_close(joy[1], 0.5 * 1.0 * 1.0 * rows(1)[0])
    assert_close(joy[2], 0.5 * -0.5 * 2.0 * rows(1)[1])
    assert_close(vectors.deltas("calm")[2], 0.25 * 2.0 * rows(3)[1])
    assert_close(vectors.deltas("joy", Dose(2.0, (5,), (3.0,)))[5], 2.0 * 3.0 * 9.0 * rows(1)[3])


@pytest.mark.parametrize("call", [EmotionVectors.dose, EmotionVectors.deltas, lambda v, name: v.select(["joy", name])])
def test_an_unknown_emotion_is_an_error_that_suggests_near_names(call):
    with pytest.raises(ToneError, match=r"no emotion 'jo' in these vectors\. Did you mean joy\?"):
        call(made(), "jo")
    with pytest.raises(ToneError, match=r"no emotion 'zzz' in these vectors\. There are: joy, fear, calm\."):
        call(made(), "zzz")


def test_what_is_no_name_at_all_is_an_unknown_emotion_too():
    for name in (None, 3, "j" * 10_000):
        with pytest.raises(ToneError, match="no emotion") as caught:
            made().dose(name)
        assert len(str(caught.value)) < 200


def test_the_summary_is_plain_data_on_every_emotion():
    summary = made().summary()
    joy, _, calm = summary["emotions"]
    assert (joy["name"], joy["valence"], joy["arousal"], joy["source"]) == ("joy", 0.75, -0.5, "A survey")
    assert (joy["calibrated"], joy["stability"], joy["dose"]["cost"]) == (True, 0.9, 0.25)
    assert (calm["calibrated"], calm["stability"], calm["dose"]["dose"]) == (False, None, 0.25)
    assert summary["base_model"]["repo_id"] == "someone/tiny"
    assert summary["layers"] == [1, 2, 4, 5]
    assert (summary["license"], summary["measured"]) == ("MIT", {"alignment": {"n": 28}})


# Select and merge.


def test_selecting_keeps_order_and_everything_else():
    vectors = made()
    before = snapshot(vectors)
    some = vectors.select(["calm", "joy"])
    assert some.emotions == ("calm", "joy")
    assert torch.equal(some.directions["joy"], vectors.directions["joy"])
    assert some.doses == {"joy": vectors.doses["joy"]}
    assert some.info == {"calm": EmotionInfo(), "joy": vectors.info["joy"]}
    assert some.base_model == vectors.base_model
    assert snapshot(vectors) == before


def test_merging_adds_emotions_with_their_doses_and_ratings():
    ours, theirs = made().select(["joy"]), made().select(["fear", "calm"])
    both = ours.merge(theirs)
    assert snapshot(both) == snapshot(made())


def test_a_calibrated_emotion_adds_the_same_after_merging():
    # The other set was made with other neutral texts, so that its residual norms are a little different.
    theirs = made(residual_norm=torch.tensor([1.5, 2.5, 4.0, 9.5])).select(["fear", "calm"])
    both = made().select(["joy"]).merge(theirs)
    assert both.deltas("fear").keys() == theirs.deltas("fear").keys()
    for layer, delta in theirs.deltas("fear").items():
        assert_close(both.deltas("fear")[layer], delta)


def test_merging_keeps_the_stability_of_both():
    theirs = made(extraction={"method": "mean_difference", "stability": {"fear": 0.8}}).select(["fear"])
    assert made().select(["joy"]).merge(theirs).extraction["stability"] == {"joy": 0.9, "fear": 0.8}


def test_merging_an_emotion_that_stands_in_both_is_an_error_that_names_it():
    with pytest.raises(ToneError, match="Both sets have calm, fear"):
        made().merge(made().select(["fear", "calm"]))


@pytest.mark.parametrize(
    "other",
    [
        made(
            directions={"awe": normalize(torch.ones(4, 9), dim=-1)},
            base_model=replace(BASE, hidden_size=9),
        ),
        made(directions={"awe": rows(4)}, layers=(0, 1, 2, 3), doses={}),
    ],
    ids=["width", "layers"],
)
def test_merging_sets_of_other_layers_or_width_is_an_error_that_shows_both(other):
    with pytest.raises(IncompatibleModelError, match=r"layers or width.*3 emotions.*and.*1 emotions"):
        made().merge(other)


def test_merging_vectors_of_two_models_of_one_shape_warns():
    other = made(directions={"awe": rows(4)}, base_model=replace(BASE, repo_id="another/tiny"))
    with pytest.warns(EmosteerWarning, match=r"two models.*someone/tiny.*another/tiny"):
        made().merge(other)


def test_merging_keeps_a_license_that_both_have_and_no_other():
    awe = {"directions": {"awe": rows(4)}}
    assert made().merge(made(**awe)).license == "MIT"
    assert made().merge(made(**awe, license="CC0-1.0")).license is None


# Scale and add.


def test_scaling_multiplies_doses_and_nothing_else():
    vectors = made()
    before = snapshot(vectors)
    half = vectors.scale(0.5)
    for name in vectors.emotions:
        assert torch.equal(half.directions[name], vectors.directions[name])
        for layer, delta in vectors.deltas(name).items():
            assert_close(half.deltas(name)[layer], 0.5 * delta)
    assert snapshot(vectors) == before


def test_scaling_some_emotions_leaves_the_others():
    vectors = made()
    some = vectors.scale({"joy": 2.0, "calm": 4})
    assert some.dose("joy").dose == 1.0
    assert some.dose("calm").dose == 1.0
    assert some.dose("fear") == vectors.dose("fear")


def test_what_was_measured_at_the_old_dose_is_not_said_of_the_new():
    joy = made().scale(2).dose("joy")
    assert (joy.budget, joy.cost, joy.hit_rate, joy.stopped) == (None, None, None, None)
    assert (joy.layers, joy.weights) == ((1, 2), (1.0, -0.5))


@pytest.mark.parametrize("factor", [0, -1.0, float("nan"), float("inf"), "2"])
def test_a_factor_that_is_no_positive_number_is_an_error(factor):
    with pytest.raises(ToneError, match="factor of 'joy'"):
        made().scale({"joy": factor})


def test_scaling_an_unknown_emotion_is_an_error():
    with pytest.raises(ToneError, match="no emotion 'rage'"):
        made().scale({"rage": 2.0})


@pytest.mark.parametrize(
    "mixture",
    [
        {"joy": 1.0},
        {"joy": -2.0},
        {"joy": 0.75, "fear": 0.5},
        {"joy": 1.0, "fear": -1.5, "calm": 3.0},
        {"fear": 1, "calm": 0},
    ],
)
def test_an_added_emotion_at_strength_1_is_what_its_mixture_adds(mixture):
    vectors = made()
    before = snapshot(vectors)
    more = vectors.add("bittersweet", mixture)
    expected: dict[int, torch.Tensor] = {}
    for name, strength in mixture.items():
        dose, direction = vectors.dose(name), vectors.directions[name]
        for layer, weight in zip(dose.layers, dose.weights, strict=True):
            row = LAYERS.index(layer)
            delta = strength * dose.dose * weight * vectors.residual_norm[row] * direction[row]
            expected[layer] = expected.get(layer, torch.zeros(WIDTH)) + delta
    expected = {layer: delta for layer, delta in expected.items() if delta.norm() > 0}
    found = more.deltas("bittersweet")
    assert sorted(found) == sorted(expected)
    for layer, delta in expected.items():
        assert_close(found[layer], delta, rtol=1e-5, atol=1e-6)
    assert more.emotions == (*vectors.emotions, "bittersweet")
    assert_close(more.directions["bittersweet"].norm(dim=-1), torch.ones(4))
    assert snapshot(vectors) == before


def test_an_added_emotion_can_be_saved_and_loaded(tmp_path):
    more = made().add("bittersweet", {"joy": 1.0, "fear": 0.5})
    more.save_pretrained(tmp_path)
    again = EmotionVectors.from_pretrained(tmp_path)
    for layer, delta in more.deltas("bittersweet").items():
        assert_close(again.deltas("bittersweet")[layer], delta)


def test_an_added_emotion_has_the_scope_of_what_it_is_made_of():
    generated = {"joy": Dose(0.5, (1,), (1.0,), "generated"), "fear": Dose(0.5, (2,), (1.0,), "generated")}
    more = made(doses=generated).add("bittersweet", {"joy": 1.0, "fear": 1.0})
    assert more.dose("bittersweet").scope == "generated"


@pytest.mark.parametrize(
    ("name", "mixture", "said"),
    [
        ("joy", {"fear": 1.0}, "'joy' is taken"),
        ("Bitter", {"fear": 1.0}, "'Bitter' is taken or not a name"),
        ("new", {"rage": 1.0}, "no emotion 'rage'"),
        ("new", {}, "'new' cancels out"),
        ("new", {"joy": 0.0}, "'new' cancels out"),
        ("new", {"joy": 1e-9}, "'new' cancels out"),
        ("new", {"joy": float("nan")}, "'new'|'joy'"),
        ("new", {"joy": float("inf")}, "'new'|'joy'"),
        ("new", {"joy": "1"}, "'new'|'joy'"),
    ],
)
def test_a_mixture_that_cannot_be_added_is_an_error(name, mixture, said):
    with pytest.raises(ToneError, match=said):
        made().add(name, mixture)


def test_a_mixture_that_cancels_out_is_an_error():
    twins = made(directions={"joy": rows(1), "bliss": rows(1)}, doses={})
    with pytest.raises(ToneError, match="'new' cancels out"):
        twins.add("new", {"joy": 1.0, "bliss": -1.0})


# Cosines.


def test_cosines_are_those_of_the_directions_over_all_layers_or_at_one():
    vectors = made()
    stacked = torch.stack([rows(1), rows(2), rows(3)])  # [n_emotions, n_layers, d]
    for layer in (None, *LAYERS):
        table = vectors.cosines(layer)
        at = range(4) if layer is None else [LAYERS.index(layer)]
        for i in range(3):
            for j in range(3):
                expected = sum(float(stacked[i, r] @ stacked[j, r]) for r in at) / len(at)
                assert float(table[i, j]) == pytest.approx(expected, abs=1e-5)
    assert_close(vectors.cosines().diagonal(), torch.ones(3))


def test_cosines_at_a_layer_that_is_not_there_are_an_error_that_lists_those_that_are():
    with pytest.raises(ToneError, match=r"no layer 3\. They have 1, 2, 4, 5"):
        made().cosines(3)


# Controls.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_random_directions_are_unit_and_the_norms_those_of_a_pass_over_64_random_tokens(dtype):
    model = tiny_model().to(dtype)
    seen = []
    handle = model.get_input_embeddings().register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    vectors = EmotionVectors.random(model, ["joy", "fear"], seed=3)
    handle.remove()
    assert len(seen) == 1
    assert seen[0].shape == (1, 64)
    assert len(set(seen[0].flatten().tolist())) > 32  # random ones, of the whole vocabulary
    assert 200 < int(seen[0].max()) < 400

    outputs = []
    handles = [b.register_forward_hook(lambda _m, _a, out: outputs.append(out[0].float())) for b in model.model.layers]
    with torch.no_grad():
        model(seen[0])
    for handle in handles:
        handle.remove()
    assert_close(vectors.residual_norm, torch.stack([(o[1:] ** 2).sum(-1).sqrt().mean() for o in outputs]))

    assert (vectors.emotions, vectors.layers, vectors.doses) == (("joy", "fear"), (0, 1, 2, 3), {})
    for direction in vectors.directions.values():
        assert direction.shape == (4, 32)
        assert direction.dtype == torch.float32
        assert_close(direction.norm(dim=-1), torch.ones(4))
    everything = torch.cat(list(vectors.directions.values()))
    assert float((everything @ everything.T - torch.eye(8)).abs().max()) < 0.7  # no two alike
    assert vectors.base_model == base_model_of(model)


def test_random_vectors_depend_on_the_seed_alone(model):
    torch.manual_seed(1)
    one = EmotionVectors.random(model, ["joy"], seed=5)
    state = torch.get_rng_state()
    two = EmotionVectors.random(model, ["joy"], seed=5)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's generator is not touched
    assert snapshot(one) == snapshot(two)
    assert not torch.equal(EmotionVectors.random(model, ["joy"], seed=6).directions["joy"], one.directions["joy"])


def test_random_leaves_the_model_without_hooks(model):
    EmotionVectors.random(model, ["joy"])
    assert not any(module._forward_hooks for module in model.model.layers)
    with pytest.raises(FormatError):
        EmotionVectors.random(model, ["Not a name"])
    assert not any(module._forward_hooks for module in model.model.layers)


def test_random_like_has_equal_norms_and_doses_and_other_directions():
    vectors = made()
    control = EmotionVectors.random_like(vectors, seed=2)
    assert control.emotions == vectors.emotions
    assert (control.layers, control.doses, control.info) == (vectors.layers, vectors.doses, vectors.info)
    assert torch.equal(control.residual_norm, vectors.residual_norm)
    for name in vectors.emotions:
        assert float((control.directions[name] * vectors.directions[name]).sum(-1).abs().mean()) < 0.8
        for layer, delta in vectors.deltas(name).items():
            assert_close(control.deltas(name)[layer].norm(), delta.norm())
    assert snapshot(EmotionVectors.random_like(vectors, seed=2)) == snapshot(control)
    assert snapshot(EmotionVectors.random_like(vectors, seed=3)) != snapshot(control)
    assert control.measured == {}  # what was measured of the real ones is not true of these
    assert "stability" not in control.extraction


# Whose vectors they are.


def named(model, repo_id: str | None, **attributes):
    model.config.name_or_path = repo_id or ""
    for key, value in attributes.items():
        setattr(model.config, key, value)
    return model


def test_the_base_model_is_described_from_the_model_itself():
    model = named(tiny_model(), "someone/tiny", _commit_hash="c0ffee", weights_variant="Q4_1 dequantised")
    base = base_model_of(model)
    assert (base.model_type, base.num_hidden_layers, base.hidden_size) == ("llama", 4, 32)
    assert (base.repo_id, base.revision, base.weights_variant) == ("someone/tiny", "c0ffee", "Q4_1 dequantised")
    assert len(base.fingerprint) == 64


@pytest.mark.parametrize("name", ["/home/me/model", "./model", "../model", "a/b/c", "", "C:\\model"])
def test_a_path_on_this_machine_is_no_repository(name):
    assert base_model_of(named(tiny_model(), name)).repo_id is None


def test_a_folder_that_looks_like_a_repository_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone" / "tiny").mkdir(parents=True)
    assert base_model_of(named(tiny_model(), "someone/tiny")).repo_id is None


def test_the_fingerprint_is_of_the_weights_whatever_their_dtype():
    model = tiny_model().to(torch.bfloat16)
    fingerprint = base_model_of(model).fingerprint
    assert base_model_of(tiny_model().to(torch.bfloat16).float()).fingerprint == fingerprint
    assert base_model_of(tiny_model(seed=1)).fingerprint != fingerprint
    tuned = tiny_model()
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.mul_(1.02)
    assert base_model_of(tuned).fingerprint != base_model_of(tiny_model()).fingerprint


def test_weights_that_are_not_there_have_no_fingerprint():
    with torch.device("meta"):
        assert base_model_of(AutoModelForCausalLM.from_config(tiny_config())).fingerprint is None


def test_vectors_of_the_model_itself_say_nothing(model, vectors, caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG, "emosteer"):
        warnings.simplefilter("error")
        vectors.check_model(model)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("changes", "described"),
    [({"num_hidden_layers": 3}, r"3 layers, width 32"), ({"hidden_size": 64}, r"4 layers, width 64")],
)
def test_a_model_of_another_shape_is_an_error_that_names_both_sides(vectors, changes, described):
    other = named(tiny_model(tiny_config(**changes)), "someone/other")
    with pytest.raises(
        IncompatibleModelError, match=rf"for llama \(4 layers, width 32\), the model is someone/other \({described}\)"
    ):
        vectors.check_model(other)


def test_another_architecture_of_the_same_shape_warns(vectors):
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
    other = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt_neox", vocab_size=400, **sizes))
    with pytest.warns(EmosteerWarning, match=r"another architecture \(gpt_neox instead of llama\)") as caught:
        vectors.check_model(other)
    assert len(caught) == 1


def test_the_warning_points_at_the_line_that_steers(vectors):
    here = test_the_warning_points_at_the_line_that_steers.__code__
    with pytest.warns(EmosteerWarning, match="other weights") as caught:
        emosteer.steer(tiny_model(seed=1), vectors.scale(1.0), {"joy": 1.0})
    (warning,) = caught
    assert (warning.filename, warning.lineno) == (here.co_filename, here.co_firstlineno + 3)


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (None, None, r"other weights \(a local model instead of a local model\)"),
        ("someone/tiny", "someone/tuned", r"other weights \(someone/tuned instead of someone/tiny\)"),
        ("someone/tiny", None, r"other weights \(a local model instead of someone/tiny\)"),
    ],
)
def test_other_weights_of_the_same_shape_warn(ours, theirs, said):
    vectors = EmotionVectors.random(named(tiny_model(), ours), ["joy"])
    with pytest.warns(EmosteerWarning, match=said):
        vectors.check_model(named(tiny_model(seed=1), theirs))


def test_another_variant_of_the_same_weights_is_a_note_and_no_alarm(caplog):
    quantised = named(tiny_model(), "someone/tiny", weights_variant="Q4_1 dequantised")
    published = named(tiny_model(seed=1), "someone/tiny")
    with warnings.catch_warnings(), caplog.at_level(logging.INFO, "emosteer"):
        warnings.simplefilter("error")
        EmotionVectors.random(quantised, ["joy"]).check_model(published)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "Q4_1 dequantised; here: as published" in record.getMessage()
    assert "someone/tiny" in record.getMessage()


def test_vectors_without_a_fingerprint_are_taken_at_their_word(vectors):
    unknown = replace(vectors, base_model=replace(vectors.base_model, fingerprint=None))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unknown.check_model(tiny_model(seed=1))


def test_steering_another_model_is_refused_and_leaves_it_alone(vectors):
    other = tiny_model(tiny_config(num_hidden_layers=3))
    with pytest.raises(IncompatibleModelError), emosteer.steer(other, vectors, {"joy": 1.0}):
        pass
    assert not any(module._forward_hooks for module in other.model.layers)


# The card.


def test_the_card_has_front_matter_and_a_row_an_emotion():
    vectors = made(extraction={"method": "pca", "languages": ["en", "zh"], "stability": {"joy": 0.9}})
    text = card.updated(_missing(), vectors.config)
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    assert front.splitlines() == [
        "library_name: emosteer",
        *("tags:", "- emosteer", "- steering-vectors", "- emotion"),
        *("base_model: someone/tiny", "base_model_relation: adapter"),
        *("language:", "- en", "- zh"),
        "license: mit",
    ]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"]
    assert table[0][:5] == ["emotion", "valence", "arousal", "dose", "layers"]
    assert table[0][5:] == ["cost", "hit rate", "stability"]
    assert table[2:] == [
        ["joy", "0.75", "−0.50", "0.50", "1 to 2", "0.25", "0.75", "0.90"],
        ["fear", "–", "–", "0.38", "2, 5", "–", "–", "–"],
        ["calm", "–", "–", "fallback", "–", "–", "–", "–"],
    ]
    assert "A survey" in body
    assert "Method: pca" in body


def _missing():
    from pathlib import Path

    return Path("no", "such", "README.md")


def test_the_card_of_a_local_model_names_no_repository():
    text = card.updated(_missing(), made(base_model=replace(BASE, repo_id=None), license=None).config)
    assert "base_model" not in text.split("\n---\n")[0]
    assert "license" not in text.split("\n---\n")[0]
    assert "a local llama model" in text


def test_what_people_wrote_around_the_generated_part_is_kept(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(card.updated(path, made().config), encoding="utf-8")
    first = path.read_text(encoding="utf-8")
    path.write_text(
        first.replace("---\n\n", "---\n\nMy words before.\n", 1) + "\nMy words after: ü.\n", encoding="utf-8"
    )
    text = card.updated(path, made().select(["fear"]).config)
    assert text.startswith("---\nlibrary_name")
    assert text.index("My words before.") < text.index("| fear |") < text.index("My words after: ü.")
    assert "| joy |" not in text
    assert text.count(card.BEGIN) == text.count(card.END) == 1
    path.write_text(text, encoding="utf-8")
    assert card.updated(path, made().select(["fear"]).config) == text  # settled


@pytest.mark.parametrize("ending", ["\n", ""])
def test_a_card_whose_last_line_break_an_editor_took_is_still_edited_in_place(ending, tmp_path):
    path = tmp_path / "README.md"
    text = card.updated(path, made().config)
    path.write_text(text.rstrip("\n") + ending, encoding="utf-8")
    assert card.updated(path, made().config) == text


@pytest.mark.parametrize("theirs", ["# My vectors\n\nWritten by hand.\n", "---\nlicense: mit\n---\n\nWritten by hand."])
def test_a_card_without_the_marks_is_kept(theirs, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(theirs, encoding="utf-8")
    text = card.updated(path, made().config)
    assert "Written by hand." in text
    assert "| joy |" in text
    assert text.count("\n---\n") <= 1  # one front matter
    path.write_text(text, encoding="utf-8")
    assert card.updated(path, made().config) == text


def test_saving_edits_the_card_in_place(tmp_path):
    made().save_pretrained(tmp_path)
    path = tmp_path / "README.md"
    path.write_text(path.read_text(encoding="utf-8") + "\nMy words.\n", encoding="utf-8")
    made().scale(2).save_pretrained(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\nMy words.\n")
    assert "| joy | 0.75 | −0.50 | 1.00 |" in text


def test_a_card_that_cannot_be_read_is_an_error_and_nothing_is_written(tmp_path):
    made().save_pretrained(tmp_path)
    (tmp_path / "README.md").write_bytes(b"\xff\xfe not UTF-8")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"README\.md"):
        made().scale(2).save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_python_of_the_card_runs(tmp_path):
    """It is what people copy: the code block parses and calls what there is."""
    text = card.render(made().config)
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert "emosteer.SteeredModel.from_pretrained" in code
    assert callable(emosteer.SteeredModel.from_pretrained)
    assert math.isclose(made().dose(code.split('emotion={"')[1].split('"')[0]).dose, 0.5)


def test_a_set_without_emotions_is_none(tmp_path):
    made().save_pretrained(tmp_path)
    for ask in (
        lambda: made().select([]),
        lambda: EmotionVectors.from_pretrained(tmp_path, emotions=[]),
        lambda: replace(made(), directions={}, readout=None),
        lambda: EmotionVectors.random(tiny_model(), []),
    ):
        with pytest.raises(FormatError, match="at least one emotion"):
            ask()
