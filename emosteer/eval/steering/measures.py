"""Measures of answers: what judges hear in them, what they cost, how they read, whether they keep to the topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from emosteer._util.languages import FUNCTION_WORDS
from emosteer._util.stats import cluster_means, resamples
from emosteer.eval.encoder import LANGUAGES, shared_encoder
from emosteer.eval.judges import BASIC, GOEMOTIONS_MAP, Judge, heard_as
from emosteer.eval.language import ENGLISH, same_language
from emosteer.eval.prompts import Prompt, as_prompt, primary
from emosteer.eval.sampling import Answer
from emosteer.eval.steering import wording
from emosteer.eval.steering.coarse import coarse
from emosteer.eval.steering.families import FAMILY_OF
from emosteer.eval.steering.manners import disclaimer, refusal, stated

ASKED = "asked"
"""The way whose answers those of all others are compared with under the model that is asked for the tone."""

__all__ = ["ASKED", "Measures", "Scores"]


@dataclass(frozen=True)
class Scores:
    """Scores of answers, each as `[1 + draws]`: the value itself, then its value in each resample of prompts.

    Args:
        n: Number of answers.
        text: Score → values. `cost` is in nats per token above the plain answers to the same prompts, `…_change` the
            difference from them, `…_ratio` the quotient; `topic` is the similarity to plain answers to the same prompt,
            divided by that of plain answers to each other, in a language that the sentence encoder knows. `cost_asked`
            is in nats per token of the model that is asked for the tone, above the answers of the way `asked`.
        judged: Judge → score → values: `hit`, the share in which the emotion is chosen among the basic ones;
            `probability` among all labels; `probability_of_basic` among the basic ones; `top_1` and `top_3`, the share
            in which it is the most probable, or among the three most probable, of the emotions that GoEmotions knows;
            `family`, the share in which the most probable emotion is of its family. Refusals and disclaimers are misses
            in all of them but the probabilities.
        variety: `entropy` of the tokens in nats, `distinct_1` to `distinct_3`, the share of different n-grams. They
            vary with the number of answers and of resampled prompts, so only their ratios have intervals.
    """

    n: int
    text: Mapping[str, np.ndarray]
    judged: Mapping[str, Mapping[str, np.ndarray]]
    variety: Mapping[str, float]

    @staticmethod
    def mean(several: Sequence[Scores]) -> Scores:
        """Return the unweighted mean over emotions answered on the same prompts, of those that have a score."""

        def averaged(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
            names = dict.fromkeys(name for row in rows for name in row)
            return {name: np.mean([row[name] for row in rows if name in row], axis=0) for name in names}

        judges = dict.fromkeys(judge for scores in several for judge in scores.judged)
        judged = {
            judge: averaged([scores.judged[judge] for scores in several if judge in scores.judged]) for judge in judges
        }
        variety = {name: float(value) for name, value in averaged([scores.variety for scores in several]).items()}
        return Scores(
            sum(scores.n for scores in several), averaged([scores.text for scores in several]), judged, variety
        )


class Measures:
    """Measures of answers relative to the unsteered ones among them.

    Args:
        answers: All answers, at least two of them unsteered for every prompt.
        judges: Judges of the emotion in them.
        language: Language of the answers.
    """

    def __init__(self, answers: Sequence[Answer], judges: Sequence[Judge], language: str = ENGLISH) -> None:
        self._answers = answers
        self._judges = {judge.name: judge for judge in judges}
        texts, asked = [answer.text for answer in answers], [as_prompt(answer.prompt).text for answer in answers]
        self.heard = {judge.name: judge.probabilities(texts) for judge in judges}
        self._plain = [i for i, answer in enumerate(answers) if answer.cell.control == "unsteered"]
        self._pair = {(answers[i].prompt, answers[i].seed): i for i in self._plain}
        self._columns: dict[str, np.ndarray] = {
            "cost": np.array([np.nan if answer.nats is None else answer.nats for answer in answers]),
            "loops": np.array([wording.loops(text, language) for text in texts], dtype=float),
            "other_script": np.array(
                [wording.other_script(text, said) for text, said in zip(texts, asked, strict=True)]
            ),
            "tokens": np.array([len(answer.tokens) for answer in answers], dtype=float),
            "ended": np.array([answer.ended for answer in answers], dtype=float),
        }
        if same_language(language, [ENGLISH]):
            self._columns["ascii_letters"] = np.array([wording.ascii_letters(text) for text in texts])
        if primary(language) in FUNCTION_WORDS:
            self._columns["function_words"] = np.array([wording.function_words(text, language) for text in texts])
        told = {"refusals": refusal, "disclaimers": disclaimer, "stated": stated, "coarse": coarse}
        self._columns |= {name: np.array([found(text) for text in texts], dtype=float) for name, found in told.items()}
        self._answered = (self._columns["refusals"] + self._columns["disclaimers"]) == 0
        self._nats_asked = np.array([np.nan if a.nats_asked is None else a.nats_asked for a in answers])
        self._asked = [i for i, a in enumerate(answers) if a.cell.way == ASKED and a.cell.control is None]
        self._similar = self._similarities(texts, asked) if same_language(language, LANGUAGES) else None

    def of(self, rows: Sequence[int], emotion: str | None) -> Scores:
        """Compute the scores of some answers.

        Args:
            rows: Their indices among all answers.
            emotion: The emotion that judges listen for.
        """
        clusters = {prompt: i for i, prompt in enumerate(dict.fromkeys(self._answers[i].prompt for i in rows))}
        weights = _weights(len(clusters))
        plain = [i for i in self._plain if self._answers[i].prompt in clusters]
        own, other = ([clusters[self._answers[i].prompt] for i in indices] for indices in (rows, plain))

        def mean(column: np.ndarray) -> np.ndarray:
            return cluster_means(column[rows], own, weights)

        def mean_of_plain(column: np.ndarray) -> np.ndarray:
            return cluster_means(column[plain], other, weights)

        text: dict[str, np.ndarray] = {}
        variety: dict[str, float] = {}
        for name, column in self._columns.items():
            change = mean(column) - mean_of_plain(column)
            if name == "cost":
                text |= {"nats": mean(column), "cost": change}
            else:
                text |= {name: mean(column), f"{name}_change": change}
        asked = [i for i in self._asked if self._like(i, rows[0]) and self._answers[i].prompt in clusters]
        if asked:
            theirs = [clusters[self._answers[i].prompt] for i in asked]
            text["cost_asked"] = mean(self._nats_asked) - cluster_means(self._nats_asked[asked], theirs, weights)
        if self._similar:
            to_plain, to_prompt = self._similar
            text["topic"] = mean(to_plain) / mean_of_plain(to_plain)
            text["topic_of_prompt"] = mean(to_prompt)
        # Variety grows with the number of answers, so it is compared with as many plain ones to the same prompts.
        paired = [self._pair[self._answers[i].prompt, self._answers[i].seed] for i in rows]
        for name, n in (("entropy", 1), ("distinct_1", 1), ("distinct_2", 2), ("distinct_3", 3)):
            toned, untoned = (self._variety(indices, own, weights, n, name) for indices in (rows, paired))
            with np.errstate(invalid="ignore", divide="ignore"):
                text[f"{name}_ratio"] = toned / untoned
            if not np.isnan(toned[0]):  # answers too short to have any
                variety[name] = float(toned[0])
        judged = {
            name: {score: mean(column) for score, column in verdicts.items()}
            for name, judge in self._judges.items()
            if emotion is not None and (verdicts := self._verdicts(judge, emotion))
        }
        known = {name: values for name, values in text.items() if not np.isnan(values[0])}
        return Scores(len(rows), known, judged, variety)

    def choices(self, judge: str) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the basic emotions that a judge knows, and the index of its choice in every answer, `[n_answers]`."""
        labels = tuple(name for name in BASIC if name in self.heard[judge])
        return labels, np.stack([self.heard[judge][name] for name in labels], axis=1).argmax(1)

    def families(self, judge: str) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the families that a judge knows emotions of, and the index of its choice in every answer."""
        known = [label for label in self.heard[judge] if label in FAMILY_OF]
        families = tuple(dict.fromkeys(FAMILY_OF[label] for label in known))
        of_label = np.array([families.index(FAMILY_OF[label]) for label in known])
        chosen = np.stack([self.heard[judge][label] for label in known], axis=1).argmax(1)
        return families, of_label[chosen]

    def _like(self, one: int, other: int) -> bool:
        """Return whether two answers are in the same emotion and strength."""
        first, second = self._answers[one].cell, self._answers[other].cell
        return (first.emotion, first.strength) == (second.emotion, second.strength)

    def _verdicts(self, judge: Judge, emotion: str) -> dict[str, np.ndarray]:
        """Return each score of a judge as `[n_answers]`."""
        heard, label = self.heard[judge.name], heard_as(judge, emotion)
        verdicts: dict[str, np.ndarray] = {}
        if any(name in FAMILY_OF for name in heard) and emotion in FAMILY_OF:
            families, family = self.families(judge.name)
            if FAMILY_OF[emotion] in families:
                verdicts["family"] = (family == families.index(FAMILY_OF[emotion])) & self._answered
        if label is not None:
            verdicts |= self._verdicts_by_name(judge, emotion, label)
        return {score: np.asarray(verdict, dtype=float) for score, verdict in verdicts.items()}

    def _verdicts_by_name(self, judge: Judge, emotion: str, label: str) -> dict[str, np.ndarray]:
        heard = self.heard[judge.name]
        own = heard[label]
        verdicts = {"probability": own}
        if emotion in BASIC:
            labels, chosen = self.choices(judge.name)
            verdicts["hit"] = (chosen == labels.index(emotion)) & self._answered
            verdicts["probability_of_basic"] = own / sum(heard[name] for name in labels)
        mapped = [name for name in GOEMOTIONS_MAP.values() if name in heard]
        if label in mapped and len(mapped) > len(BASIC):  # among fewer, the top three are often reached by chance
            above = np.sum([heard[name] > own for name in mapped], axis=0)
            verdicts |= {f"top_{n}": (above < n) & self._answered for n in (1, 3)}
        return verdicts

    def _similarities(self, texts: list[str], asked: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the cosine of each answer to the other plain answers to its prompt, and to the prompt itself."""
        encoder = shared_encoder()
        embedded, prompts = encoder.encode(texts), encoder.encode(asked)
        by_prompt: dict[str | Prompt, list[int]] = {}
        for i in self._plain:
            by_prompt.setdefault(self._answers[i].prompt, []).append(i)
        to_plain = np.zeros(len(texts))
        for i, answer in enumerate(self._answers):
            others = [j for j in by_prompt[answer.prompt] if j != i]
            to_plain[i] = float((embedded[others] @ embedded[i]).mean())
        return to_plain, np.einsum("nd,nd->n", embedded, prompts)

    def _variety(
        self, rows: Sequence[int], clusters: Sequence[int], weights: np.ndarray, n: int, name: str
    ) -> np.ndarray:
        """Return the entropy in nats, or share of different n-grams, of the tokens of these answers together."""
        column: dict[Any, int] = {}
        entries = [
            (cluster, column.setdefault(gram, len(column)), times)
            for i, cluster in zip(rows, clusters, strict=True)
            for gram, times in wording.ngrams(self._answers[i].tokens, n).items()
        ]
        counts = np.zeros((weights.shape[1], max(len(column), 1)))
        for cluster, gram, times in entries:
            counts[cluster, gram] += times
        pooled = weights @ counts  # [1 + draws, n_grams]
        total = pooled.sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            if name == "entropy":
                shares = pooled / total[:, None]
                value: np.ndarray = -(shares * np.log(np.where(pooled > 0, shares, 1))).sum(1)
            else:
                value = (pooled > 0).sum(1) / total
        return value


@cache
def _weights(n_prompts: int) -> np.ndarray:
    """Return the same resamples for every cell, so that cells on the same prompts are resampled together."""
    return resamples(n_prompts)
