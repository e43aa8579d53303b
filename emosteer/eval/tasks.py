"""Tasks whose answers are right or wrong by code: whether a task survives a tone.

What counts is whether the answer holds what was asked for. What a tone says around it does not count against it, unless
the task itself limits how much may be said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from emosteer._util import strict_json
from emosteer.errors import InputError
from emosteer.eval.prompts import BENCH, Prompt, primary

_NUMBER = re.compile(r"(?<![\w.])[-−]?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|(?<![\d.])[-−]?\d+(?:\.\d+)?")
_ITEM = re.compile(r"^\s*(?:[-*•·–]\s+|\(?\d{1,2}[.)\uff09、\uff0e]\s*|[①-⑳]\s*)\S", re.MULTILINE)
_END = re.compile(r"[.!?…]+(?=[\s\"'”’)*]|$)|[。\uff01\uff1f…]+")
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:['’-][^\W\u3400-\u9fff]+)*")
_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_DIGITS = "零一二三四五六七八九"

__all__ = ["CHECKS", "Task", "is_right", "load_tasks"]


@dataclass(frozen=True)
class Task:
    """A task.

    Args:
        prompt: What is asked; its kind is `fact`, `arithmetic`, `extraction`, `format`, `translation` or `instruction`.
        right: Name of a check in `CHECKS` → what it expects; an answer that passes all of them is right.
    """

    prompt: Prompt
    right: Mapping[str, Any]


def load_tasks(language: str = "en") -> tuple[Task, ...]:
    """Return the 40 tasks in a language, sorted by kind.

    Args:
        language: One of `BENCH`. `zh-TW` has those of `zh`.

    Raises:
        InputError: There are none in this language.
    """
    code = primary(language)
    if code not in BENCH:
        raise InputError(f"There are no tasks in {language!r}.", f"There are some in: {', '.join(BENCH)}.")
    file = resources.files("emosteer.eval") / "data" / f"tasks-{code}.json"
    entries = strict_json.loads(file.read_bytes())
    return tuple(
        Task(Prompt(f"{code}-task-{i}", entry["kind"], entry["text"]), entry["right"])
        for i, entry in enumerate(entries)
    )


def is_right(task: Task, answer: str) -> bool:
    """Return whether an answer to a task is right."""
    return all(CHECKS[name](answer.strip(), expected) for name, expected in task.right.items())


def _any(answer: str, phrases: Sequence[str]) -> bool:
    """One of these stands in it as words of its own, whatever the case of its letters.

    Chinese has no spaces between words, so that there the characters are enough.
    """
    bounded = (rf"(?<![a-z0-9]){re.escape(p)}(?![a-z0-9])" if p.isascii() else re.escape(p) for p in phrases)
    return any(re.search(pattern, answer, re.IGNORECASE) for pattern in bounded)


def _number(answer: str, expected: float) -> bool:
    """This number stands in it, in digits or in words."""
    numbers = [float(number.replace(",", "").replace("−", "-")) for number in _NUMBER.findall(answer)]
    if expected in numbers or expected >= 1000:  # years are written in digits
        return expected in numbers
    english, chinese = _in_words(int(expected))
    own = rf"(?<![\w-]){english}(?![\w-])|(?<![{_DIGITS}十百]){chinese}(?![{_DIGITS}十百])"
    return re.search(own, answer.lower()) is not None


def _in_words(number: int) -> tuple[str, str]:
    """Return a number from 0 to 999 in English and in Chinese words, as patterns."""
    hundreds, below = divmod(number, 100)
    tens, ones = divmod(below, 10)
    english = _ONES[below] if below < 20 else _TENS[tens - 2] + (f"[- ]{_ONES[ones]}" if ones else "")
    chinese = ("" if tens == 1 and not hundreds else _DIGITS[tens]) + "十" if tens else ""
    chinese += _DIGITS[ones] if ones or not number else ""
    if hundreds:
        rest = f" (?:and )?{english}" if below else ""
        english = rf"{'(?:one|a)' if hundreds == 1 else _ONES[hundreds]} hundred{rest}"
        chinese = f"{_DIGITS[hundreds]}百{'零' if ones and not tens else ''}{chinese}"
    return english, chinese


def _order(answer: str, items: Sequence[str]) -> bool:
    """These stand in it one after the other, with commas between them."""
    between = r"['\"”’*]*\s*[,\uff0c、]\s*(?:and\s+)?['\"“\u2018*]*"
    return re.search(rf"(?<!\w){between.join(map(re.escape, items))}(?!\w)", answer, re.IGNORECASE) is not None


def _json(answer: str, expected: Mapping[str, Any]) -> bool:
    """There is a JSON object in it with these keys and values."""
    decoder = json.JSONDecoder()
    for start in (match.start() for match in re.finditer(r"\{", answer)):
        try:
            found, _ = decoder.raw_decode(answer, start)
        except ValueError:
            continue
        if all(str(found.get(name)) == str(value) for name, value in expected.items()):
            return True
    return False


def _sentences(answer: str, expected: int) -> bool:
    return sum(any(map(str.isalnum, part)) for part in _END.split(answer)) == expected


CHECKS: Mapping[str, Callable[[str, Any], bool]] = {
    "any": _any,
    "all": lambda answer, phrases: all(_any(answer, [phrase]) for phrase in phrases),
    "none": lambda answer, phrases: not _any(answer, phrases),
    "exact": lambda answer, text: re.search(rf"(?<![\w#]){re.escape(text)}(?!\w)", answer) is not None,
    "starts": lambda answer, word: re.match(rf"\W*{re.escape(word)}", answer) is not None,
    "number": _number,
    "order": _order,
    "json": _json,
    "items": lambda answer, expected: len(_ITEM.findall(answer)) == expected,
    "sentences": _sentences,
    "words": lambda answer, most: 0 < len(_WORD.findall(answer)) <= most,
}
"""Name → whether an answer passes: one of several phrases, all, or none; a text with its case; the first word; a
number; items in order; a JSON object; so many list items or sentences; at most so many words, or Chinese characters."""
