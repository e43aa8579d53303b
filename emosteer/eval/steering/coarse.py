"""Coarse language in an answer: profanity, slurs, insults, threats and talk of self-harm, in English and Chinese."""

from __future__ import annotations

import re
from importlib import resources

from emosteer._util import strict_json

_WORDS = strict_json.loads((resources.files("emosteer._util") / "data" / "coarse.json").read_bytes())
"""Its own text says where the words come from."""

SHORT = 4
"""Letters up to which a word is not inflected, since other words are so spelt: spices."""

_HARM = r"(?:kill|murder|strangle|stab|shoot|destroy|hurt|crush|choke|beat up|punch|smash|slap)"
_SELF = r"(?:myself|yourself|himself|herself|themselves|ourselves)"
_INSULT = r"(?:idiot|moron|imbecile|fool|loser|scum|pig|coward|parasite|piece of (?:trash|garbage|filth))"
_ENGLISH = [
    rf"\bI(?:'ll| will|'m going to| am going to|'m gonna| want to| could| swear I'll) (?:\w+ )?{_HARM} "
    r"(?:you|him|her|them|everyone|someone|somebody)\b",
    r"\byou(?:'ll| will| should| must| deserve to|'re going to) (?:\w+ )?(?:die|(?:regret|pay for|suffer for) this)\b",
    r"\bdrop dead\b|\bburn in hell\b|\brot in hell\b",
    rf"\byou(?:'re| are)?,? (?:an? |such an? |all )?(?:\w+ )?{_INSULT}s?\b",
    rf"\b(?:kill|hurt|harm|cut|hang|drown|shoot)(?:s|ed|ing|ting|ning)? {_SELF}\b(?! laughing)",
    r"\bsuicid(?:e|al)\b|\bself-harm",
    r"\b(?:end|ending|take|taking) (?:my|your|his|her) (?:own )?life\b|\bend it all\b",
    r"\bwant(?:ed|s)? to die\b|\bwish (?:I|you) (?:was|were) dead\b|\bbetter off dead\b",
]
_CHINESE = [
    r"(?<![妈我你您她爸咱])妈的(?!妈)|(?<!妈)他妈(?![妈的])(?=[就真什怎是别给个])|我操(?![作心场办持练])",
    r"(?:杀了|弄死|打死|掐死|砍死|宰了|揍死|捅死)(?:你|他|她|他们|她们|你们|所有人)",
    r"你(?:们)?(?:都)?(?:该死|去死|不得好死|会后悔的|等着瞧)|(?<!过)去死吧|要你的命|让你付出代价",
    r"自杀|自残|自尽|轻生|割腕|上吊|(?:我|你|他|她)(?:真的?|就|好|也)?(?:不想活|想死(?!你))|活不下去",
    r"结束(?:自己|我|你|他|她)的?(?:生命|性命)",
]


def _whole(words: str) -> str:
    """Return a pattern of English words and phrases, lightly inflected, that stand alone."""
    some = words.split(" | ")
    inflected = "|".join(re.escape(word) for word in some if len(word) > SHORT)
    bare = "|".join(re.escape(word) for word in some)
    return rf"(?<![\w'-])(?:(?:{inflected})(?:s|es|ed|ing|er|ers|y)?|{bare})(?![\w-])"


_COARSE = re.compile(
    "|".join(
        [
            *(_whole(words) for words in _WORDS["en"].values()),
            *(words.replace(" | ", "|") for words in _WORDS["zh"].values()),
            *_ENGLISH,
            *_CHINESE,
        ]
    ),
    re.IGNORECASE,
)

__all__ = ["coarse"]


def coarse(text: str) -> bool:
    """Return whether a text is coarse: whether it swears, insults, threatens, or speaks of harming oneself.

    English words have to stand alone; Chinese has no spaces, so that there the list has no word that is often part of
    another.
    """
    return _COARSE.search(text.replace("’", "'")) is not None
