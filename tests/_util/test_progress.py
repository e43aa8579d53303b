"""Progress of long work, by a clock that stands until it is set."""

from __future__ import annotations

import io
import sys

import pytest

import emosteer
from emosteer._util import progress
from emosteer._util.progress import Meter, counted
from emosteer.models.activations import collect
from tests.conftest import small_concepts


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "clock", clock)
    return clock


@pytest.fixture
def running(monkeypatch):
    """A clock of which every look takes half a minute."""
    times = iter(range(0, 10**9, 30))
    monkeypatch.setattr(progress, "clock", lambda: next(times))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_a_minute_with_done_left_and_estimate(clock, capsys):
    meter = Meter("Reading 1,204 texts", 1204)
    lines = []
    for seconds, n in [(59, 100), (60, 101), (119, 100), (120, 0), (3000, 299), (3100, 604)]:
        clock.now = 1000 + seconds
        meter.advance(n)
        lines.append(capsys.readouterr().err)
    assert lines == [
        "",
        "Reading 1,204 texts: 201 done, 1,003 left, about 5 minutes to go\n",  # 60 s / 201 · 1,003 = 299 s
        "",
        "Reading 1,204 texts: 301 done, 903 left, about 6 minutes to go\n",  # 120 s / 301 · 903 = 360 s
        "Reading 1,204 texts: 600 done, 604 left, about 50 minutes to go\n",  # 3,000 s / 600 · 604 = 3,020 s
        "",  # nothing is left
    ]


def test_what_was_there_already_does_not_count_as_speed(clock, capsys):
    meter = Meter("Answering 100 prompts", 100)
    meter.advance(50, kept=True)
    clock.now += 60
    meter.advance(0)
    clock.now += 3600
    meter.advance(10)
    assert capsys.readouterr().err.splitlines() == [
        "Answering 100 prompts: 50 done, 50 left",
        "Answering 100 prompts: 60 done, 40 left, about 4 hours 4 minutes to go",  # 3,660 s / 10 · 40
    ]


def test_nothing_is_shown_where_nothing_shall_be(clock, capsys, monkeypatch):
    meter = Meter("Reading 2 texts", 2, False)
    clock.now += 600
    meter.advance(1)
    monkeypatch.setattr(sys, "stderr", Terminal())
    Meter("Reading 2 texts", 2, False).advance(1)
    assert sys.stderr.getvalue() == ""
    assert capsys.readouterr() == ("", "")


class Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [None, Broken()])
def test_a_log_that_has_gone_ends_no_work(clock, monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    meter = Meter("Reading 2 texts", 2)
    clock.now += 60
    meter.advance(1)


def test_a_terminal_gets_a_bar_that_says_what_it_is_about(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Meter("Reading 1,204 texts", 1204) as meter:
        meter.advance(602)
    assert "Reading 1,204 texts:" in sys.stderr.getvalue()


def test_numbers_have_their_noun():
    assert [counted(n, "text") for n in (0, 1, 2, 1204)] == ["0 texts", "1 text", "2 texts", "1,204 texts"]


def test_reading_tells_unless_told_not_to(model, tokenizer, running, capsys):
    texts = [f"The bus number {i} is late." for i in range(6)]
    collect(model, tokenizer, texts, batch_size=1)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "Reading 6 texts: 2 done, 4 left, about 2 minutes to go"
    assert len(told) == 2  # the third would be at the end
    for silent in (False, lambda *_: None):
        collect(model, tokenizer, texts, batch_size=1, progress=silent)
    assert capsys.readouterr() == ("", "")


def test_extraction_tells_unless_told_not_to(model, tokenizer, running, capsys):
    emosteer.extract(model, tokenizer, small_concepts(), batch_size=1, progress=False)
    assert capsys.readouterr() == ("", "")
    emosteer.extract(model, tokenizer, small_concepts(), batch_size=1)
    assert capsys.readouterr().err.startswith("Reading ")
