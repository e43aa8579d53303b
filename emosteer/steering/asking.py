"""Asking for a tone in words: a system message written from the concept set of the emotions and their strengths.

    messages = asked(tokenizer, vectors, "How was your morning?", {"joy": 1.0})

The wording of each language is in `data/asking.json`.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from emosteer._util import strict_json
from emosteer._util.languages import guessed
from emosteer.concepts import ConceptSet
from emosteer.errors import InputError, ToneError
from emosteer.models.messages import Messages, is_continued, parsed, rendered, text_of, tones_of
from emosteer.schedules import Schedule
from emosteer.steering.affect import Affect
from emosteer.steering.recipes import Recipe, recipe_of
from emosteer.steering.thought_scope import PARTS
from emosteer.steering.tones import Tone
from emosteer.vectors.algebra import finite_strength

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from emosteer.vectors.emotion_vectors import EmotionVectors

LEVELS = (0.375, 0.75, 1.25)
"""Strengths at which the words for an intensity change; emotions that steer away have two, which change at the second.
"""

UNDERTONE = 0.5
"""Share of the strongest emotion's strength below which another is an undertone."""

LONGEST_LABEL = 40

_WORDING: Mapping[str, Mapping[str, Any]] = strict_json.loads(
    (resources.files("emosteer.steering") / "data" / "asking.json").read_bytes()
)

__all__ = ["asked", "request", "with_request"]


def asked(
    tokenizer: PreTrainedTokenizerBase,
    vectors: EmotionVectors,
    message: str | Messages,
    tone: Tone | Affect | None,
    *,
    language: str | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> str | Messages:
    """Return messages with a request for a tone in them, in the language of the conversation.

    The request is the system message, or the end of the one that is there. Where the chat template has no system role,
    it is the beginning of the user's last message. The end of that message reminds of it in a few words, since small
    models hold to what they have read last.

    Args:
        tokenizer: Its chat template decides where the request goes.
        vectors: Vectors that know the emotions.
        message: What the user says, or messages.
        tone: Emotion → strength, or `Affect`; without any strength, the message is returned as it is.
        language: Of the request, as `"zh"`; by default that of the last message of the user that shows one, or English.
        chat_template_kwargs: What the chat template takes besides the messages.

    Raises:
        ToneError: The tone is not one that stays the same, or an emotion is unknown.
        InputError: The messages cannot be used, or there is no wording in the language.
    """
    messages = parsed(tokenizer, message)
    text, reminder = request(vectors, tone, language or _spoken(messages))
    if not text:
        return message
    turns: Messages = [{"role": "user", "content": message}] if isinstance(message, str) else message
    users = [i for i, turn in enumerate(turns) if turn["role"] == "user"]
    if users and reminder:
        turns = [*turns[: users[-1]], _joined(turns[users[-1]], after=reminder), *turns[users[-1] + 1 :]]
    if turns[0]["role"] in ("system", "developer"):
        result = [_joined(turns[0], after=text), *turns[1:]]
    else:
        result = [{"role": "system", "content": text}, *turns]
    if _shows(tokenizer, result, text, chat_template_kwargs):
        return result
    if not users:
        raise InputError(
            "The chat template shows no system message, and there is no message of the user to ask for a tone in.",
            "Add one, or choose a recipe that does not ask.",
        )
    return [*turns[: users[-1]], _joined(turns[users[-1]], before=text), *turns[users[-1] + 1 :]]


def with_request(
    recipe: str | Recipe | None,
    tokenizer: PreTrainedTokenizerBase,
    vectors: EmotionVectors,
    message: str | Messages,
    tones: Sequence[Any],
    schedule: Schedule | None,
    operation: str,
    scope: str | None,
    chat_template_kwargs: Mapping[str, Any] | None,
) -> tuple[list[str | Messages], Recipe | None]:
    """Ask for tones, if a recipe does.

    Args:
        recipe: As for `chat`.
        tokenizer: Of the model that answers.
        vectors: Vectors made for it.
        message: As for `chat`.
        tones: The tone of each answer.
        schedule: The caller's schedule.
        operation: The caller's operation.
        scope: The caller's scope.
        chat_template_kwargs: What the chat template takes besides the messages.

    Returns:
        The messages for each answer, and the part of the recipe that remains for the model to run with.

    Raises:
        InputError: The messages cannot be used, the recipe is unknown, or there is no place for the request.
        ToneError: The recipe asks, and the tone is not the same in the whole answer.
    """
    parsed(tokenizer, message)
    steady = all(tone is None or isinstance(tone, (Mapping, Affect)) for tone in tones)
    added = schedule is None and operation == "add" and scope not in PARTS
    carried = steady and added and not any(tones_of(message))
    found = recipe_of(recipe, carried=carried)
    if found is None or not found.asks:
        return [message] * len(tones), found
    if not carried:
        raise ToneError(
            "A tone can be asked for that is the same in the whole answer, and added where it is steered.",
            "Give another recipe, or leave out schedule, operation, scope, keyframes, thermostat, tones of messages.",
        )
    asks = [asked(tokenizer, vectors, message, tone, chat_template_kwargs=chat_template_kwargs) for tone in tones]
    return asks, replace(found, asks=False)


def request(vectors: EmotionVectors, tone: Tone | Affect | None, language: str) -> tuple[str, str]:
    """Return the request for a tone, one to three sentences, and a reminder of it; both "" without any strength.

    There is no reminder of what is only to be held back.

    Args:
        vectors: Vectors that know the emotions.
        tone: Emotion → strength, or `Affect`.
        language: Of the request, as `"zh"` or `"zh-CN"`.

    Raises:
        ToneError: The tone is not one that stays the same, or an emotion is unknown.
        InputError: There is no wording in the language.
    """
    code = str(language).replace("_", "-").partition("-")[0].lower()
    if code not in _WORDING:
        raise InputError(f"A tone cannot be asked for in {language!r:.20}.", f"Choose one of: {', '.join(_WORDING)}.")
    wording = _WORDING[code]
    words: list[str] = []
    away: list[tuple[str, float]] = []
    if isinstance(tone, Affect):
        parts = _mood(tone, wording)
    elif tone is None or isinstance(tone, Mapping):
        amounts = {emotion: _amount(vectors, emotion, strength) for emotion, strength in (tone or {}).items()}
        toward = sorted((name for name in amounts if amounts[name] > 0), key=lambda name: -amounts[name])
        away = [(_concept(vectors, name, code)[0], -amounts[name]) for name in amounts if amounts[name] < 0]
        parts, words = _mixture(vectors, {name: amounts[name] for name in toward}, code)
    else:
        raise ToneError("A tone that changes cannot be asked for in words.", "Give emotions with strengths, or Affect.")
    sentences, reminder = [], ""
    if parts:
        reminder = wording["reminder"].format(tone=_series(parts, wording["and"]))
        listed = wording["words"].format(words=wording["and"][0].join(words)) if words else ""
        sentences.append(wording["toward"].format(tone=_series(parts, wording["and"]), words=listed))
    if away:
        strongest = max(amount for _, amount in away)
        sentence = wording["away"][strongest >= LEVELS[1]]
        sentences.append(sentence.format(emotions=_series([label for label, _ in away], wording["or"])))
    return (wording["between"].join([*sentences, wording["task"]]) if sentences else ""), reminder


def _amount(vectors: EmotionVectors, emotion: str, strength: object) -> float:
    vectors.dose(emotion)  # reports an unknown emotion
    return finite_strength(emotion, strength)


def _mixture(vectors: EmotionVectors, amounts: Mapping[str, float], language: str) -> tuple[list[str], list[str]]:
    """Return emotions in words, the strongest first, and words that people associate with those that lead."""
    wording, parts = _WORDING[language], []
    leading = [name for name in amounts if amounts[name] >= UNDERTONE * max(amounts.values())]
    for name, amount in amounts.items():
        form = wording["levels"][bisect(LEVELS, amount)] if name in leading else wording["undertone"]
        parts.append(form.format(emotion=_concept(vectors, name, language)[0]))
    each = 4 if len(leading) == 1 else 2
    return parts, [word for name in leading for word in _concept(vectors, name, language)[1][:each]]


def _mood(affect: Affect, wording: Mapping[str, Any]) -> list[str]:
    """Return a point of the circumplex in words: that of its eighth, counted from pleasant towards stirred up."""
    radius = min(1.0, math.hypot(affect.valence, affect.arousal))
    if not radius:
        return []
    eighth = round(math.atan2(affect.arousal, affect.valence) / (math.pi / 4)) % 8
    return [wording["levels"][bisect(LEVELS, radius)].format(emotion=wording["moods"][eighth])]


def _concept(vectors: EmotionVectors, emotion: str, language: str) -> tuple[str, tuple[str, ...]]:
    """Return what an emotion is called in a language, and words that people associate with it."""
    label, words = _built_in(language).get(emotion, (emotion.replace("_", " ").replace("-", " "), ()))
    own = vectors.info[emotion].labels.get(language, "")
    # Labels come from files of others, and are read by the model as an instruction.
    letters = all(unicodedata.category(sign)[0] in "LM" or sign in " -'’" for sign in own)
    return (own if own.strip() and letters and len(own) <= LONGEST_LABEL else label), words


@cache
def _built_in(language: str) -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """Return emotion → its label and associated words of the built-in concept set, none of which is its name."""
    concepts = ConceptSet.load(language).concepts
    return {
        name: (emotion.labels[language], _varied(emotion.texts[language].words, emotion.texts[language].word_family))
        for name, emotion in concepts.items()
    }


def _varied(words: Iterable[str], family: Sequence[str]) -> tuple[str, ...]:
    """Return words that are neither forms of the emotion's name nor of a word before them."""
    kept: list[str] = []
    for word in words:
        beginnings = (word[: max(1, min(len(word), len(other)) // 2)] for other in kept)
        if word not in family and not any(map(str.startswith, kept, beginnings)):
            kept.append(word)
    return tuple(kept)


def _series(items: Sequence[str], joints: Sequence[str]) -> str:
    """Return items as in "a, b and c"."""
    comma, last = joints
    return last.join(filter(None, (comma.join(items[:-1]), items[-1])))


def _spoken(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the language of the last message of the user that shows one."""
    texts = (text_of(message) for message in reversed(messages) if message["role"] == "user")
    return next(filter(None, map(guessed, texts)), "en")


def _joined(message: Mapping[str, Any], *, before: str = "", after: str = "") -> dict[str, Any]:
    """Return a message with a text before or after its own."""
    content = message["content"]
    if isinstance(content, list):
        parts = [[{"type": "text", "text": text}] if text else [] for text in (before, after)]
        return {**message, "content": [*parts[0], *content, *parts[1]]}
    return {**message, "content": "\n\n".join(filter(None, (before, content, after)))}


def _shows(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, text: str, variables: Mapping[str, Any] | None
) -> bool:
    """Return whether the chat template takes messages, and shows a text that is in them."""
    checked = parsed(tokenizer, messages)
    end = {"continue_final_message" if is_continued(checked) else "add_generation_prompt": True}
    try:
        return text in str(rendered(tokenizer, checked, variables, tokenize=False, **end))
    except InputError:
        return False
