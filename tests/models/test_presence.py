"""Where a block holds: generators in changing threads and their callers, context managers, cells that are over."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager

import pytest
import torch

import emosteer
from emosteer.errors import EmosteerWarning
from emosteer.models.presence import present, suspended
from tests.conftest import in_threads

JOY, FEAR = {"joy": 2.0}, {"fear": 2.0}
IDS = torch.tensor([[7, 8, 9, 10]])


@pytest.fixture
def say(model):
    def say() -> torch.Tensor:
        with torch.no_grad():
            return model(IDS).logits

    return say


@pytest.fixture
def steer(model, vectors):
    return lambda tone=JOY: emosteer.steer(model, vectors, tone)


@pytest.fixture
def heard(say, steer):
    """What is said plainly, and in each tone."""
    heard = {None: say()}
    for name, tone in (("joy", JOY), ("fear", FEAR)):
        with steer(tone):
            heard[name] = say()
    return lambda logits: next(name for name, known in heard.items() if torch.equal(known, logits))


@pytest.fixture(autouse=True)
def left_as_it_was(model):
    yield
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert "generate" not in vars(model)
    assert present() == ()


def pieces(say, block, times=3):
    with block:
        for _ in range(times):
            yield say()


def in_a_copy(function, *args):
    """As web frameworks run a step of a generator: in some thread, in a copy of the context of the request."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, function, *args).result()


def test_a_generator_keeps_its_tone_whichever_thread_resumes_it(say, steer, heard):
    stream = pieces(say, steer())
    assert [heard(in_a_copy(next, stream)) for _ in range(3)] == ["joy"] * 3
    assert in_a_copy(next, stream, "over") == "over"


def test_a_generator_keeps_its_tone_in_generate_too(model, steer):
    def generated():
        return model.generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=4, pad_token_id=0).tolist()

    with steer():
        expected = generated()
    stream = pieces(generated, steer())
    assert [in_a_copy(next, stream) for _ in range(3)] == [expected] * 3
    assert list(stream) == []


def test_a_tone_opened_by_a_context_manager_inside_a_generator_is_the_generators(say, steer, heard):
    @contextmanager
    def joyful():
        with ExitStack() as stack:
            stack.enter_context(steer())
            yield

    stream = pieces(say, joyful())
    assert [heard(in_a_copy(next, stream)) for _ in range(3)] == ["joy"] * 3
    stream.close()


def test_a_suspended_generator_leaves_its_caller_plain(say, steer, heard):
    stream, found = pieces(say, steer()), []
    for piece in stream:
        found += [heard(piece), heard(say())]
    assert found == ["joy", None] * 3


def test_generators_that_take_turns_each_keep_their_own_tone(say, steer, heard):
    pairs = zip(pieces(say, steer(JOY)), pieces(say, steer(FEAR)), strict=True)
    assert [(heard(a), heard(b)) for a, b in pairs] == [("joy", "fear")] * 3


def test_a_generator_that_is_dropped_takes_its_hooks_along(say, steer, model):
    def first_piece():
        for _ in pieces(say, steer()):
            break

    gc.disable()
    try:
        first_piece()
        assert "generate" not in vars(model)
    finally:
        gc.enable()


def test_a_generator_s_tone_holds_in_a_thread_that_it_gave_its_context_while_it_is_suspended(say, steer, heard):
    go_on = threading.Event()

    def answers():
        with steer(), ThreadPoolExecutor(1) as pool:
            later = pool.submit(contextvars.copy_context().run, lambda: go_on.wait(30) and say())
            yield
            yield later.result()

    stream = answers()
    next(stream)
    assert heard(say()) is None
    go_on.set()
    assert heard(next(stream)) == "joy"
    stream.close()


def test_a_generator_that_is_a_context_manager_holds_its_tone_for_the_block(say, steer, heard):
    @contextmanager
    def joyful():
        with steer():
            yield

    with joyful():
        assert heard(say()) == "joy"
    assert heard(say()) is None


def test_a_generator_whose_driver_has_returned_holds_its_tone_for_the_caller_and_warns_once(say, steer, heard):
    def started():
        stream = pieces(say, steer())
        next(stream)
        return stream

    stream = started()
    with pytest.warns(EmosteerWarning, match=r"generator 'pieces' is suspended with a tone open.*contextlib") as seen:
        assert [heard(say()), heard(say())] == ["joy", "joy"]
    assert len(seen) == 1
    stream.close()


def test_async_generators_and_context_managers(say, steer, heard):
    async def stream():
        with steer():
            for _ in range(2):
                yield heard(say())
                yield heard(await asyncio.to_thread(say))

    @asynccontextmanager
    async def joyful():
        with steer():
            yield

    async def main():
        found = []
        async for one in stream():
            found += [one, heard(say())]
        async with joyful():
            found.append(heard(say()))
            found.append(heard(await asyncio.create_task(asyncio.to_thread(say))))
        return found

    assert asyncio.run(main()) == ["joy", None] * 4 + ["joy", "joy"]


@pytest.mark.parametrize("kind", ["task", "thread"])
def test_a_tone_entered_where_all_is_over_warns_at_the_first_pass_that_it_misses(say, steer, heard, kind):
    steering = steer()

    async def cell():
        steering.__enter__()
        assert heard(say()) == "joy"

    if kind == "task":
        asyncio.run(cell())
    else:
        in_threads(lambda: asyncio.run(cell()))
    gc.collect()
    with pytest.warns(EmosteerWarning, match="A tone was entered in a thread, task or notebook cell that is over") as w:
        assert [heard(say()), heard(say())] == [None, None]
    assert len(w) == 1
    steering.__exit__(None, None, None)


def test_a_thread_beside_an_open_block_is_plain_and_is_not_warned(say, steer, heard):
    inside, over = threading.Event(), threading.Event()

    def request():
        with steer():
            inside.set()
            assert over.wait(30)

    thread = threading.Thread(target=request)
    thread.start()
    assert inside.wait(30)
    assert heard(say()) is None
    over.set()
    thread.join()


def test_a_monitor_holds_where_a_tone_holds(say, model, vectors):
    steered = emosteer.SteeredModel(model, None, vectors)
    steered._readout = readout_of(vectors)

    def recording():
        with steered.monitor() as live:
            for _ in range(3):
                say()
                yield live.scores.shape[1]

    stream, seen = recording(), []
    for _ in range(3):
        seen.append(in_a_copy(next, stream))
        say()
    assert seen == [4, 8, 12]
    assert in_a_copy(next, stream, "over") == "over"


def readout_of(vectors):
    from emosteer.vectors.types import Readout

    columns = len(vectors.emotions)
    return Readout(vectors.emotions, (), {1: torch.ones(32, columns)}, *(torch.ones(columns) for _ in range(3)))


def test_what_is_suspended_comes_back_and_what_is_entered_inside_holds(say, steer, heard):
    with steer(JOY) as joy:
        with suspended():
            assert present() == ()
            assert heard(say()) is None
            with steer(FEAR):
                assert heard(say()) == "fear"
                with suspended():
                    assert heard(say()) is None
            assert heard(say()) is None
        with suspended(keep=[joy]):
            assert present() == (joy,)
            assert heard(say()) == "joy"
        assert heard(say()) == "joy"
