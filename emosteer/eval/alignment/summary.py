"""What an alignment report comes to, in five to eight plain sentences made from its figures.

A figure that chance or a control reaches is said to be no better than it: the sentence follows the figure, never hope.
"""

from __future__ import annotations

from collections.abc import Sequence

from emosteer.eval.alignment.results import AlignmentReport, Geometry, LanguagePair, Transfer, WordRatings
from emosteer.eval.alignment.statistics import Measure
from emosteer.eval.alignment.tables import ceilings_of, told

SIGNIFICANT = 0.05
"""The largest p that is called above chance."""

__all__ = ["summary"]


def summary(report: AlignmentReport) -> list[str]:
    """Plain sentences on what was found, of the first language and norms in detail, of the rest in short."""
    languages = report.about.get("languages", [])
    found = [
        f"The states of {report.about.get('model', 'a model')} were read after words for emotions in "
        f"{', '.join(languages) or 'no language'} and held against human ratings of valence (how pleasant) and arousal "
        "(how stirred up)."
    ]
    if report.geometry:
        first, *others = report.geometry
        found += [_similarity(first), _components(first), *_ceiling(report, first), *_elsewhere(others)]
    if report.words:
        found += [_words(report.words), _directions(report.words[0])]
    else:
        found.append("No ratings of words were given, so nothing is said here of words at large.")
    found.append(_across(report.transfers, report.pairs))
    return found


def _similarity(shape: Geometry) -> str:
    rsa = shape.measures["rsa"]
    where = f"In {shape.language}, against {shape.ratings}"
    if rsa.value is None:
        return f"{where}, the similarity could not be computed (n = {rsa.n})."
    if not _above_chance(rsa):
        return (
            f"{where}, emotions that people find alike are not closer to each other in the model than chance has it "
            f"(RSA {told(rsa)}){_against(rsa, shape.control.get('rsa'), 'the input embeddings')}."
        )
    return (
        f"{where}, emotions that people find alike are close to each other in the model (RSA {told(rsa)})"
        f"{_against(rsa, shape.control.get('rsa'), 'the input embeddings')}."
    )


def _components(shape: Geometry) -> str:
    valence, arousal = shape.measures["pc1_valence"], shape.measures["pc2_arousal_given_valence"]
    control = shape.control.get("pc1_valence")
    return (
        f"The direction in which they differ most {_goes(valence)} with valence (|r| = {told(valence)})"
        f"{_against(valence, control, 'the input embeddings')}; the second {_goes(arousal)} with what of arousal "
        f"valence does not explain (|partial r| = {told(arousal)})."
    )


def _ceiling(report: AlignmentReport, shape: Geometry) -> list[str]:
    beside = [one.measures["rsa"] for one in ceilings_of(report.ceilings, shape.ratings, "categories")]
    known = [one for one in beside if one.value is not None]
    ours = shape.measures["rsa"].value
    if not known or ours is None:
        return []
    best = max(known, key=lambda one: one.value or 0)
    verdict = "stays below that" if ours < (best.value or 0) else "reaches that"
    return [f"Two sets of human ratings agree with each other at most at RSA {told(best)}; the model {verdict}."]


def _elsewhere(others: Sequence[Geometry]) -> list[str]:
    if not others:
        return []
    above = sum(_above_chance(shape.measures["rsa"]) for shape in others)
    each = ", ".join(f"{one.language} {one.ratings} {_value(one.measures['rsa'])}" for one in others)
    return [f"For the other languages and sets of ratings RSA is above chance in {above} of {len(others)} ({each})."]


def _words(words: Sequence[WordRatings]) -> str:
    first, *others = words
    valence, arousal = (first.full.r[axis] for axis in ("valence", "arousal"))
    spelling = first.controls.get("spelling")
    sentence = (
        f"A regression that never saw the words predicts the ratings of {first.norms} ({first.language}) with r "
        f"{told(valence)} for valence and {told(arousal)} for arousal"
        f"{_against(valence, spelling.r['valence'] if spelling else None, 'their letters alone', 'in valence')}"
    )
    each = [
        f"{one.norms} ({one.language}) {_value(one.full.r['valence'])} and {_value(one.full.r['arousal'])}"
        for one in others
    ]
    return f"{sentence}{'; for ' if each else ''}{', '.join(each)}."


def _directions(words: WordRatings) -> str:
    gains = {axis: words.advantage[axis] for axis in ("valence", "arousal")}
    better = [axis for axis, gain in gains.items() if gain.low is not None and gain.low > 0]
    verdict = (
        f"more than as many random directions in {' and '.join(better)}"
        if better
        else ("no more than as many random directions")
    )
    figures = ", ".join(f"{axis} r {words.directions.r[axis]}, above random by {gain}" for axis, gain in gains.items())
    return f"The emotion directions alone tell {verdict} ({figures}, n = {words.directions.r['valence'].n})."


def _across(transfers: Sequence[Transfer], pairs: Sequence[LanguagePair]) -> str:
    if not transfers and not pairs:
        return "Only one language was read, so nothing is said here of what languages share."
    parts = []
    if pairs:
        identified, by_chance = pairs[0].identified, 1 / max(pairs[0].identified.n, 1)
        better = identified.low is not None and identified.low > by_chance
        parts.append(
            f"emotions of {pairs[0].languages[0]} mapped onto {pairs[0].languages[1]} land nearest their own "
            f"counterpart in {identified} of cases, {'above' if better else 'not clearly above'} the {by_chance:.2f} "
            f"of chance (n = {identified.n})"
        )
    if transfers:
        one = transfers[0]
        valence, arousal = one.prediction.r["valence"], one.arousal_given_valence
        parts.append(
            f"a regression fitted to {one.source} {_goes(valence)} with valence in {one.target} (r {told(valence)})"
            f"{_against(valence, one.control.r.get('valence'), 'the input embeddings')} and {_goes(arousal)} with its "
            f"arousal, valence taken out (partial r {told(arousal)})"
        )
    return f"Across languages, {'; '.join(parts)}."


def _above_chance(found: Measure) -> bool:
    return found.p is not None and found.p <= SIGNIFICANT


def _goes(found: Measure) -> str:
    return "goes" if _above_chance(found) else "does not go, beyond chance,"


def _against(found: Measure, control: Measure | None, name: str, where: str = "") -> str:
    """How a figure stands to its control: above only if the whole interval is."""
    if control is None or control.value is None or found.value is None:
        return ""
    inside = f"{where} ({_value(control)})".strip()
    if found.value <= control.value:
        return f", no better than {name} {inside}"
    if found.low is None or found.low <= control.value:
        return f", not clearly better than {name} {inside}"
    return f", better than {name} {inside}"


def _value(found: Measure) -> str:
    return "–" if found.value is None else f"{found.value:.2f}".replace("-", "−")
