"""The studio: what is loaded, once for all who ask, a few at a time; what fails leaves nothing."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from pathlib import Path

import pytest

import emosteer
from emosteer.demo import fetching
from emosteer.demo.pairs import Concepts, Pair, places_of
from emosteer.demo.shelf import KEPT, Shelf
from emosteer.demo.studio import Studio
from emosteer.demo.work import Step, Work
from emosteer.errors import IncompatibleModelError, InputError
from emosteer.models import loading
from tests.conftest import small_concepts, tiny_config, tiny_model, tiny_tokenizer
from tests.demo.visitor import speaking

ALL = 10  # seconds that a test waits at most


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Models, each with vectors: `one` to `four` of the same shape, `wide` of another."""
    home = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two", "three", "four", "wide")):
        model = tiny_model(tiny_config(hidden_size=64 if name == "wide" else 32), seed=seed)
        model.save_pretrained(home / name)
        tiny_tokenizer().save_pretrained(home / name)
        emosteer.EmotionVectors.random(model, ["joy", "fear"], seed=seed).save_pretrained(home / f"{name}-vectors")
    return home


@pytest.fixture
def loads(monkeypatch):
    """Names of the models whose weights have been read."""
    seen: list[str] = []
    real = loading.load_model

    def load(source, **options):
        seen.append(Path(source).name)
        return real(source, **options)

    monkeypatch.setattr(loading, "load_model", load)
    monkeypatch.setattr(Studio, "_fit", lambda *_: None)
    return seen


@pytest.fixture
def studio(home, loads):
    """With the first model loaded."""
    studio = Studio(pair_of(home, "one"))
    studio.open()
    studio.first_model()
    return studio


def pair_of(home, model: str, vectors: str | None = None) -> Pair:
    return Pair(str(home / model), str(home / f"{vectors or model}-vectors"))


def run(steps) -> list[str]:
    return [step.words for step in steps]


def test_the_first_is_waited_for_with_words(home, loads):
    studio = Studio(pair_of(home, "one"))
    assert studio.places() == {"joy": None, "fear": None}
    with pytest.raises(InputError, match=r"not there yet\. Starting"):
        studio.get(studio.first)
    studio.open()
    assert isinstance(studio.first_model(), emosteer.SteeredModel)
    assert list(studio.status(studio.first)) == [""]
    assert loads == ["one"]


def test_a_visitor_who_waits_has_it_opened(home, loads):
    studio = Studio(pair_of(home, "one"))
    lines = studio.status(studio.first)
    assert "role='status'" in next(lines)
    until(lambda: loads == ["one"])
    assert list(lines)[-1] == ""


def test_weights_of_strangers_are_never_unpickled(home, loads, monkeypatch):
    given, real = [], loading.load_model
    monkeypatch.setattr(loading, "load_model", lambda name, **options: given.append(options) or real(name, **options))
    studio = Studio(pair_of(home, "one"))
    studio.first_model()
    run(studio.load(pair_of(home, "two")))
    assert given == [{}, {"use_safetensors": True}]


def test_two_voices_share_the_cores(home, loads, monkeypatch):
    threads = []
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    Studio(pair_of(home, "one")).first_model()
    assert threads == [4]


def test_what_is_here_is_not_large(studio, home):
    assert [studio.has(name) for name in ("embedded", str(home / "one"), str(home / "two"))] == [True, True, False]


def test_emotion_is_read_at_once_when_the_readout_is_fitted(home):
    studio, steered = Studio(pair_of(home, "one")), speaking()
    studio.learn_to_read(studio.first)  # not there, so there is nothing to wait for
    studio._shelf.put(studio.first, steered)
    assert not studio.reads(studio.first)
    assert steered._readout is None
    studio.learn_to_read(studio.first)
    assert steered._readout is not None
    studio._fit(steered)
    assert studio.reads(studio.first)


def test_a_readout_that_cannot_be_fitted_is_told_to_whoever_reads(home, monkeypatch):
    studio, steered = Studio(pair_of(home, "one")), speaking()
    studio._shelf.put(studio.first, steered)

    def fail(_):
        raise InputError("Too few emotions.")

    monkeypatch.setattr(type(steered), "readout", property(fail))
    studio._fit(steered)
    assert not studio.reads(studio.first)
    with pytest.raises(InputError, match="Too few"):
        studio.learn_to_read(studio.first)


def test_why_the_first_failed_is_told_to_all_as_text(tmp_path, loads):
    studio = Studio(Pair("nobody/<b>x</b>", str(tmp_path / "<i>none")))
    studio.open()
    for _ in range(2):
        line = list(studio.status(studio.first))[-1]
        assert "role='alert'" in line
        assert "&lt;i&gt;none" in line
        assert "<i>" not in line


def test_another_pair_is_loaded_and_used(studio, home, loads):
    pair = pair_of(home, "two")
    words = run(studio.load(pair))
    assert any("weights" in said for said in words)
    assert studio.get(pair).vectors.emotions == ("joy", "fear")
    assert list(studio.stages(pair)) == []
    assert run(studio.load(pair)) == []
    assert loads == ["one", "two"]


def test_two_pairs_of_one_model_share_its_weights(studio, home, loads):
    pair = pair_of(home, "one", "two")
    with pytest.warns(emosteer.errors.EmosteerWarning, match="other weights"):
        run(studio.load(pair))
    assert studio.get(pair).model is studio.first_model().model
    assert loads == ["one"]


def test_the_least_recently_used_goes_and_its_memory_with_it(studio, home):
    pairs = [pair_of(home, name) for name in ("two", "three", "four")]
    assert len(pairs) == KEPT + 1
    run(studio.load(pairs[0]))
    run(studio.load(pairs[1]))
    gone = weakref.ref(studio.get(pairs[1]).model)
    studio.get(pairs[0])
    run(studio.load(pairs[2]))
    gc.collect()
    assert gone() is None
    for kept in (studio.first, pairs[0], pairs[2]):
        assert studio.get(kept)
    with pytest.raises(InputError, match="put away"):
        studio.get(pairs[1])
    with pytest.raises(InputError, match="put away"):
        list(studio.stages(pairs[1]))


def test_room_is_made_before_weights_are_read(studio, home, monkeypatch):
    held, real = [], loading.load_model
    monkeypatch.setattr(loading, "load_model", lambda *a, **o: held.append(len(studio._shelf._held)) or real(*a, **o))
    for name in ("two", "three", "four"):
        run(studio.load(pair_of(home, name)))
    assert held == [1, 2, KEPT]  # the first, and room for one more


class Body:
    """What a shelf holds, in a circle with itself as modules are."""

    def __init__(self) -> None:
        self.model, self.tokenizer = self, object()


def test_what_is_put_away_is_gone_at_once():
    gc.disable()  # but for those who ask for it
    try:
        shelf = Shelf(Pair("first"))
        shelf.put(Pair("first"), Body())
        gone = weakref.ref(body := Body())
        shelf.put(Pair("a", "0"), body)
        del body
        for i in range(1, KEPT + 1):  # of the same model, so that nobody makes room for its weights
            assert gone() is not None
            shelf.put(Pair("a", str(i)), Body())
        assert gone() is None
        assert shelf.get(Pair("first"))
    finally:
        gc.enable()


def test_loading_goes_on_when_a_visitor_leaves(studio, home, monkeypatch):
    go, real, pair = threading.Event(), loading.load_model, pair_of(home, "two")
    monkeypatch.setattr(loading, "load_model", lambda *a, **o: go.wait(ALL) and real(*a, **o))
    steps = studio.load(pair)
    next(steps)
    work = studio._under_way[pair]
    steps.close()
    go.set()
    work.thread.join(ALL)
    assert studio.get(pair)


@pytest.mark.slow
def test_who_builds_again_at_once_is_not_forgotten_when_the_first_ends(studio, home, monkeypatch):
    monkeypatch.setattr(Concepts, "load", lambda _: small_concepts())
    gates = [threading.Event(), threading.Event()]
    waiting = iter(gates)

    def blocked(*_, progress, **__):
        assert next(waiting).wait(ALL)
        raise InputError("Nothing was built.")

    monkeypatch.setattr(emosteer, "extract", blocked)
    pair = Pair(str(home / "one"), "vectors.safetensors", concepts=Concepts("en"))
    works = []
    for gate in gates:
        steps = studio.load(pair)
        while "Reading texts" not in next(steps).words:
            pass
        works.append(studio._under_way[pair])
        if gate is gates[0]:
            studio.stop(pair)
    first, second = works
    assert first is not second
    gates[0].set()
    first.thread.join(ALL)
    assert studio._under_way[pair] is second
    gates[1].set()
    with pytest.raises(InputError, match="Nothing was built"):
        run(steps)


def test_one_loading_for_two_who_ask_at_once(studio, home, loads, monkeypatch):
    asked, go = threading.Event(), threading.Event()
    real = loading.load_model

    def slow(source, **options):
        asked.set()
        assert go.wait(ALL)
        return real(source, **options)

    monkeypatch.setattr(loading, "load_model", slow)
    pair, said = pair_of(home, "two"), ([], [])
    visitors = [threading.Thread(target=lambda to=to: to.extend(run(studio.load(pair)))) for to in said]
    for visitor in visitors:
        visitor.start()
    assert asked.wait(ALL)
    other = threading.Thread(target=lambda: run(studio.load(pair_of(home, "three"))))
    other.start()
    until(lambda: "Waiting" in studio._under_way[pair_of(home, "three")].step.words)
    go.set()
    for visitor in (*visitors, other):
        visitor.join(ALL)
    assert loads == ["one", "two", "three"]
    assert all("weights" in steps[-1] for steps in said)


def test_vectors_of_another_shape_are_refused_before_any_weight_is_read(studio, home, loads):
    with pytest.raises(IncompatibleModelError, match=r"width 64.*width 32"):
        run(studio.load(pair_of(home, "two", "wide")))
    assert loads == ["one"]


def test_what_fails_leaves_nothing_and_may_be_tried_again(studio, home, loads, monkeypatch):
    pair, real, made = pair_of(home, "two"), loading.load_model, []

    def fail(source, **options):
        made.append(weakref.ref(real(source, **options)[0]))
        raise InputError("The disk is full.")

    monkeypatch.setattr(loading, "load_model", fail)
    for _ in range(2):
        with pytest.raises(InputError, match="The disk is full"):
            run(studio.load(pair))
    gc.collect()
    assert [one() for one in made] == [None, None]
    assert studio._under_way.keys() == {studio.first}
    monkeypatch.setattr(loading, "load_model", real)
    run(studio.load(pair))
    assert studio.get(pair)


def test_vectors_are_built_with_progress_and_shared(studio, home, loads, monkeypatch):
    monkeypatch.setattr(Concepts, "load", lambda _: small_concepts())
    pair = Pair(str(home / "two"), "vectors.safetensors", concepts=Concepts("en"))
    shares: list[float | None] = []
    Watched.into(monkeypatch, shares)
    run(studio.load(pair))
    built = studio.get(pair)
    oracle = emosteer.extract(built.model, built.tokenizer, small_concepts(), progress=False)
    assert all(bool((built.vectors.directions[name] == oracle.directions[name]).all()) for name in oracle.emotions)
    assert places_of(built.vectors).keys() == {"joy", "fear", "calm"}
    known = [share for share in shares if share is not None]
    assert known[0] == 0.0
    assert known == sorted(known)
    assert known[-1] == 1.0


def test_building_can_be_stopped(studio, home, monkeypatch):
    monkeypatch.setattr(Concepts, "load", lambda _: small_concepts())
    real, begun = emosteer.extract, threading.Event()

    def slow(*args, progress, **options):
        begun.set()
        while True:
            progress(1, 2)
            time.sleep(0.01)

    monkeypatch.setattr(emosteer, "extract", slow)
    pair = Pair(str(home / "one"), "vectors.safetensors", concepts=Concepts("en"))
    steps = studio.load(pair)
    next(steps)
    assert begun.wait(ALL)
    work = studio._under_way[pair]
    steps.close()  # a visitor has left
    work.thread.join(ALL)
    assert not work.thread.is_alive()
    assert pair not in studio._under_way
    again = studio.load(pair)
    next(again)
    studio.stop(pair)
    with pytest.raises(InputError, match="was stopped"):
        run(again)
    studio.stop(pair)
    monkeypatch.setattr(emosteer, "extract", real)
    run(studio.load(pair))
    assert studio.get(pair).model is studio.first_model().model


def test_who_waits_for_another_build_is_told(studio, home, monkeypatch):
    monkeypatch.setattr(Concepts, "load", lambda _: small_concepts())
    real, going = emosteer.extract, threading.Event()

    def slow(*args, **options):
        assert going.wait(ALL)
        return real(*args, **options)

    monkeypatch.setattr(emosteer, "extract", slow)
    first, second = (Pair(str(home / name), "vectors.safetensors", concepts=Concepts("en")) for name in ("one", "two"))
    ahead, behind = studio.load(first), studio.load(second)
    until(lambda: next(ahead).words == "Reading texts")
    until(lambda: next(behind).words == "Waiting until other vectors have been built")
    going.set()
    run(behind)
    assert studio.get(first)
    assert studio.get(second)


def test_what_has_come_of_weights_is_told_while_they_come(tmp_path, monkeypatch):
    """A cache as the Hub's client leaves it: whole files, and the one on its way."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(fetching, "weight_bytes", {"org/model": 1000}.get)
    monkeypatch.setattr(fetching, "PACE", 0.01)
    blobs, told = tmp_path / "models--org--model" / "blobs", []
    blobs.mkdir(parents=True)
    with fetching.watched("org/model", told.append):
        until(lambda: told[-1] == Step("Fetching the weights of org/model", 0.0))
        (blobs / "1234").write_bytes(bytes(200))
        (blobs / "abcd.5678.incomplete").write_bytes(bytes(300))
        until(lambda: told[-1] == Step("Fetching the weights of org/model", 0.5))
        (blobs / "abcd.5678.incomplete").write_bytes(bytes(800))
        until(lambda: told[-1].share is None)
        assert told[-1] == told[0]
        assert told[0].words.startswith("Reading the weights of org/model")
    over = len(told)
    time.sleep(0.05)
    assert len(told) == over


@pytest.mark.parametrize("model", ["embedded", "here", "org/none"])
def test_nothing_is_said_to_be_fetched_that_is_here_or_of_unknown_size(tmp_path, monkeypatch, model):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetching, "weight_bytes", lambda name: 1000 if name == "here" else None)
    monkeypatch.setattr(fetching, "PACE", 0.01)
    told = []
    with fetching.watched(model, told.append):
        time.sleep(0.05)
    assert len(told) == 1
    assert "embedded" not in told[0].words


def test_work_that_breaks_does_not_leave_anybody_waiting(caplog):
    def task(say):
        say(Step("Digging", 0.5))
        raise ZeroDivisionError("deep")

    work = Work(task)
    work.start()
    with pytest.raises(ZeroDivisionError):
        run(work.watch())
    assert "deep" in caplog.text


def test_work_says_its_steps_while_it_goes_on_and_is_no_reason_to_stay():
    heard, go = threading.Event(), threading.Event()

    def task(say):
        assert heard.wait(ALL)
        time.sleep(0.05)  # now somebody waits
        say(Step("Digging"))
        go.wait(1)

    work = Work(task)
    work.start()
    steps = work.watch()
    assert next(steps).words == "Starting"
    heard.set()
    assert next(steps, Step("over")).words == "Digging"
    go.set()
    assert list(steps) == []
    assert work.thread.daemon
    work.stop()
    assert list(work.watch()) == []  # what is over stays as it is


def test_what_a_visitor_did_wrong_is_not_logged(caplog):
    def task(_):
        raise InputError("There is no such model.")

    work = Work(task)
    work.start()
    with pytest.raises(InputError):
        run(work.watch())
    assert caplog.text == ""


def test_stopping_ends_the_waiting_at_once(caplog):
    """Also while the work says nothing."""
    going = threading.Event()
    work = Work(lambda say: going.wait(ALL) and say(Step("Too late")))
    work.start()
    steps = work.watch()
    next(steps)
    threading.Timer(0.2, work.stop).start()
    try:
        with pytest.raises(InputError, match="was stopped"):
            next(steps)
        assert work.thread.is_alive()
    finally:
        going.set()
    work.thread.join(ALL)
    assert not caplog.text  # what a visitor does is no failure of the server


def until(true) -> None:
    end = time.monotonic() + ALL
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


class Watched:
    """Every share that any work tells."""

    @staticmethod
    def into(monkeypatch, shares: list[float | None]) -> None:
        real = Work._say

        def say(self, step):
            shares.append(step.share)
            real(self, step)

        monkeypatch.setattr(Work, "_say", say)
