"""Short sentences in which words are read, for each language.

The model's state shows a word best just after it, where the model is about to say how it feels, so the state is taken
at the last token of a frame. Words are rated from `WORDS`. Points of emotions are means over `MOODS`, which ask for the
mood rather than for one feeling, and in which valence and arousal are the two leading components.
"""

from __future__ import annotations

from emosteer.errors import InputError

WORDS: dict[str, tuple[str, ...]] = {
    "en": (
        "The word {}",
        "The word {} makes me feel",
        "When I think of {}, I feel",
        "It was all about {}. The mood was",
    ),
    "zh": ("词语：{}", "词语：{}，让我感到", "一想到{}，我就觉得", "一切都和{}有关。当时的气氛是"),
    "es": (
        "La palabra {}",
        "La palabra {} me hace sentir",
        "Cuando pienso en {}, me siento",
        "Todo giraba en torno a {}. El ambiente era",
    ),
    "de": (
        "Das Wort {}",
        "Das Wort {} gibt mir ein Gefühl von",
        "Wenn ich an {} denke, fühle ich mich",
        "Alles drehte sich um {}. Die Stimmung war",
    ),
    "fr": (
        "Le mot {}",
        "Le mot {} me fait ressentir",
        "Quand je pense à {}, je me sens",
        "Il n'était question que de {}. L'ambiance était",
    ),
    "hi": (
        "शब्द: {}",
        "शब्द {} से मुझे महसूस होता है",
        "जब मैं {} के बारे में सोचता हूँ, तो मुझे लगता है",
        "सब कुछ {} के बारे में था। माहौल था",
    ),
    "ar": (
        "كلمة {}",
        "كلمة {} تجعلني أشعر",
        "عندما أفكر في {} أشعر",
        "كان كل شيء عن {}. كان الجو",
    ),
    "ja": (
        "言葉：{}",
        "「{}」という言葉を聞くと、私が感じるのは",
        "「{}」について考えると、私の気持ちは",
        "すべては「{}」のことだった。その場の雰囲気は",
    ),
}
"""The first frame ends with the word; the others continue after it."""

MOODS: dict[str, tuple[str, ...]] = {
    "en": (
        "It was all about {}. The mood was",
        "It was all about {}. The atmosphere was",
        "It was a day of {}. The mood in the room was",
        "Everything there spoke of {}. The mood was",
    ),
    "zh": (
        "一切都和{}有关。当时的气氛是",
        "一切都和{}有关。当时的心情是",
        "那是{}的一天。房间里的气氛是",
        "那里的一切都在诉说{}。气氛是",
    ),
    "es": (
        "Todo giraba en torno a {}. El ambiente era",
        "Todo giraba en torno a {}. El estado de ánimo era",
        "Fue un día de {}. El ambiente en la sala era",
        "Todo allí hablaba de {}. El ambiente era",
    ),
    "de": (
        "Alles drehte sich um {}. Die Stimmung war",
        "Alles drehte sich um {}. Die Atmosphäre war",
        "Es war ein Tag voller {}. Die Stimmung im Raum war",
        "Alles dort sprach von {}. Die Stimmung war",
    ),
    "fr": (
        "Il n'était question que de {}. L'ambiance était",
        "Il n'était question que de {}. L'atmosphère était",
        "C'était un jour de {}. L'ambiance dans la pièce était",
        "Tout là-bas parlait de {}. L'ambiance était",
    ),
    "hi": (
        "सब कुछ {} के बारे में था। माहौल था",
        "सब कुछ {} के बारे में था। मन की दशा थी",
        "वह {} का दिन था। कमरे का माहौल था",
        "वहाँ की हर चीज़ {} की बात करती थी। माहौल था",
    ),
    "ar": (
        "كان كل شيء عن {}. كان الجو",
        "كان كل شيء عن {}. كان المزاج",
        "كان يوم {}. كان الجو في الغرفة",
        "كل شيء هناك تحدث عن {}. كان الجو",
    ),
    "ja": (
        "すべては「{}」のことだった。その場の雰囲気は",
        "すべては「{}」のことだった。そのときの気分は",
        "その日は「{}」の一日だった。部屋の雰囲気は",
        "そこにあるすべてが「{}」を語っていた。雰囲気は",
    ),
}

__all__ = ["MOODS", "WORDS", "frames_for"]


def frames_for(table: dict[str, tuple[str, ...]], language: str) -> tuple[str, ...]:
    """Return the frames of a language; `zh-TW` has those of `zh`.

    Raises:
        InputError: The language has none.
    """
    primary = language.partition("-")[0]
    if primary not in table:
        raise InputError(
            f"There are no frames to read words of {language!r} in.", f"There are some for: {', '.join(table)}."
        )
    return table[primary]
