"""Answers → figures: what judges hear in them, what they cost, how they read, whether they keep to the topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from emosteer._util.stats import cluster_means, resamples
from emosteer.eval.encoder import shared_encoder
from emosteer.eval.judges import BASIC, GOEMOTIONS_MAP, Judge, heard_as
from emosteer.eval.sampling import Answer
from emosteer.eval.steering import wording

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Figures", "Measures"]


@dataclass(frozen=True)
class Figures:
    """Figures of some answers, each as `[1 + draws]`: the figure itself, then in every resample of the prompts.

    Args:
        n: Number of answers.
        text: Figure → values. `cost` is in nats a token above the plain answers to the same prompts, `…_change` the
            difference to them, `…_ratio` the quotient; `topic` is the similarity to plain answers to the same prompt,
            divided by that of plain answers to each other.
        judged: Judge → figure → values: `hit`, the share in which the emotion is chosen among the basic ones;
            `probability` among all labels; `probability_of_basic` among the basic ones; `top_3`, the share in which it
            is among the three likeliest of the emotions that GoEmotions knows.
        variety: `entropy` of the tokens in nats, `distinct_1` to `distinct_3`, the share of different n-grams. They
            grow and shrink with the number of answers and of resampled prompts, so only their ratios have intervals.
    """

    n: int
    text: Mapping[str, np.ndarray]
    judged: Mapping[str, Mapping[str, np.ndarray]]
    variety: Mapping[str, float]

    @staticmethod
    def mean(several: Sequence[Figures]) -> Figures:
        """The mean over emotions that were answered on the same prompts, each counted alike where it has a figure."""
        import numpy as np

        def averaged(rows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
            names = dict.fromkeys(name for row in rows for name in row)
            return {name: np.mean([row[name] for row in rows if name in row], axis=0) for name in names}

        judges = dict.fromkeys(judge for one in several for judge in one.judged)
        judged = {judge: averaged([one.judged[judge] for one in several if judge in one.judged]) for judge in judges}
        variety = {name: float(np.mean([one.variety[name] for one in several])) for name in several[0].variety}
        return Figures(sum(one.n for one in several), averaged([one.text for one in several]), judged, variety)


class Measures:
    """What can be said of answers, against the unsteered ones among them.

    Args:
        answers: All of them; two unsteered ones or more for every prompt.
        judges: Who hears which emotion is in them.
    """

    def __init__(self, answers: Sequence[Answer], judges: Sequence[Judge]) -> None:
        import numpy as np

        self._answers = answers
        self._judges = {judge.name: judge for judge in judges}
        texts = [answer.text for answer in answers]
        self.heard = {judge.name: judge.probabilities(texts) for judge in judges}
        self._plain = [i for i, answer in enumerate(answers) if answer.cell.control == "unsteered"]
        self._pair = {(answers[i].prompt, answers[i].seed): i for i in self._plain}
        self._columns: dict[str, np.ndarray] = {
            "cost": np.array([np.nan if answer.nats is None else answer.nats for answer in answers]),
            "loops": np.array([wording.loops(text) for text in texts], dtype=float),
            "other_script": np.array([wording.other_script(a.text, a.prompt) for a in answers]),
            "ascii_letters": np.array([wording.ascii_letters(text) for text in texts]),
            "function_words": np.array([wording.function_words(text) for text in texts]),
            "tokens": np.array([len(answer.tokens) for answer in answers], dtype=float),
            "ended": np.array([answer.ended for answer in answers], dtype=float),
        }
        self._to_plain, self._to_prompt = self._similarities(texts)

    def of(self, rows: Sequence[int], emotion: str | None) -> Figures:
        """The figures of some answers.

        Args:
            rows: Their places among all answers.
            emotion: The one that is listened for.
        """
        import numpy as np

        prompts = list(dict.fromkeys(self._answers[i].prompt for i in rows))
        place = {prompt: i for i, prompt in enumerate(prompts)}
        weights = _weights(len(prompts))
        plain = [i for i in self._plain if self._answers[i].prompt in place]
        where, where_plain = ([place[self._answers[i].prompt] for i in some] for some in (rows, plain))

        def mean(column: np.ndarray) -> np.ndarray:
            return cluster_means(column[rows], where, weights)

        def mean_of_plain(column: np.ndarray) -> np.ndarray:
            return cluster_means(column[plain], where_plain, weights)

        text: dict[str, np.ndarray] = {}
        variety: dict[str, float] = {}
        for name, column in self._columns.items():
            change = mean(column) - mean_of_plain(column)
            if name == "cost":
                text |= {"nats": mean(column), "cost": change}
            else:
                text |= {name: mean(column), f"{name}_change": change}
        text["topic"] = mean(self._to_plain) / mean_of_plain(self._to_plain)
        text["topic_of_prompt"] = mean(self._to_prompt)
        # Variety grows with the number of answers, so it is held against as many plain ones to the same prompts.
        paired = [self._pair[self._answers[i].prompt, self._answers[i].seed] for i in rows]
        for name, n in (("entropy", 1), ("distinct_1", 1), ("distinct_2", 2), ("distinct_3", 3)):
            own, other = (self._variety(some, where, weights, n, name) for some in (rows, paired))
            with np.errstate(invalid="ignore", divide="ignore"):
                text[f"{name}_ratio"] = own / other
            variety[name] = float(own[0])
        judged = {
            name: {figure: mean(column) for figure, column in self._verdicts(judge, emotion).items()}
            for name, judge in self._judges.items()
            if emotion is not None and heard_as(judge, emotion)
        }
        return Figures(len(rows), {k: v for k, v in text.items() if not np.isnan(v[0])}, judged, variety)

    def choices(self, judge: str) -> tuple[tuple[str, ...], np.ndarray]:
        """The basic emotions that a judge knows, and which of them it chooses in every answer `[n_answers]`."""
        import numpy as np

        labels = tuple(name for name in BASIC if name in self.heard[judge])
        return labels, np.stack([self.heard[judge][name] for name in labels], axis=1).argmax(1)

    def _verdicts(self, judge: Judge, emotion: str) -> dict[str, np.ndarray]:
        """Figure → `[n_answers]`."""
        import numpy as np

        heard, label = self.heard[judge.name], heard_as(judge, emotion)
        assert label is not None
        own = heard[label]
        found = {"probability": own}
        if emotion in BASIC:
            labels, chosen = self.choices(judge.name)
            found["hit"] = (chosen == labels.index(emotion)).astype(float)
            found["probability_of_basic"] = own / sum(heard[name] for name in labels)
        mapped = [name for name in GOEMOTIONS_MAP.values() if name in heard]
        if label in mapped and len(mapped) > len(BASIC):  # among fewer, chance alone is often in the top three
            above = np.sum([heard[name] > own for name in mapped], axis=0)
            found["top_3"] = (above < 3).astype(float)
        return found

    def _similarities(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Cosine of each answer to the plain answers to its prompt but itself, and to the prompt: `[n_answers]`."""
        import numpy as np

        encoder = shared_encoder()
        embedded = encoder.encode(texts)
        asked = encoder.encode([answer.prompt for answer in self._answers])
        by_prompt: dict[str, list[int]] = {}
        for i in self._plain:
            by_prompt.setdefault(self._answers[i].prompt, []).append(i)
        to_plain = np.zeros(len(texts))
        for i, answer in enumerate(self._answers):
            others = [j for j in by_prompt[answer.prompt] if j != i]
            to_plain[i] = float((embedded[others] @ embedded[i]).mean())
        return to_plain, np.einsum("nd,nd->n", embedded, asked)

    def _variety(self, rows: Sequence[int], where: Sequence[int], weights: np.ndarray, n: int, name: str) -> np.ndarray:
        """Entropy in nats, or share of different n-grams, of the tokens of all these answers together."""
        import numpy as np

        column: dict[Any, int] = {}
        entries = [
            (cluster, column.setdefault(gram, len(column)), times)
            for i, cluster in zip(rows, where, strict=True)
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
    """The same for every cell, so that the figures of cells on the same prompts are resampled together."""
    return resamples(n_prompts)
