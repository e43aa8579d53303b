"""Side by side with repeng and steering-vectors: the same model, prompts, sampling, judges and cost budgets.

For every method and emotion, layers and strength are chosen on development prompts: the highest hit rate among those
whose cost keeps within the budget. What they do is reported on held-out prompts, beside the plain model and one that is
asked for the tone by a system message. Answers have 32 tokens at temperature 0.8; a hit is an answer in which a judge
finds the emotion before all other basic ones, and which is no refusal or disclaimer; the cost is what its tokens are
less likely under the plain model than those of the plain answers, in nats a token. emosteer's layers are those of its
vectors, so only its strength is chosen. What was said is kept in a file, so that a run that was broken off goes on;
delete it to start afresh.

    make bench-peers
    PYTHONPATH=.venv/peers python -m tests.benchmarks.peers [--quick] [--prompts 30] [--seeds 1]
"""

from __future__ import annotations

import argparse
import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

import emosteer
from emosteer import embedded
from emosteer.eval import load_prompts
from emosteer.eval.sampling import asks, without_asking
from emosteer.eval.steering.evaluation import WAYS
from emosteer.steering.asking import request
from emosteer.vectors.shipped import shipped_folder
from tests.benchmarks.continuing import BASIC, Continuations, Judges, continued, figures, pooled
from tests.benchmarks.peer_libraries import LIBRARIES
from tests.benchmarks.report import show

BUDGETS = (0.5,)
# All, as both train by default; those that repeng's README steers; the middle one.
LAYERS = {"1 to 29": range(1, 30), "13 to 25": range(13, 26), "15": (15,)}
NEAR = 0.85  # a cost above this share of the budget is near enough


class Peer:
    """A library, with its vectors for each emotion."""

    layers = LAYERS

    def __init__(self, library, model, tokenizer) -> None:
        self.name, self.source = library.name, version(library.name)
        self._library, self._model, self._tokenizer = library, model, tokenizer
        self._vectors = {}

    def start(self, layers: str) -> float:
        return float(f"{self._library.total / len(self.layers[layers]):.3g}")

    def system(self, emotion: str, strength: float) -> str | None:
        return None

    def generate(self, emotion: str, layers: str, strength: float):
        def steered(**inputs):
            if emotion not in self._vectors:
                self._vectors[emotion] = self._library.train(self._model, self._tokenizer, emotion)
            with self._library.applied(self._model, self._vectors[emotion], self.layers[layers], strength):
                return self._model.generate(**inputs)

        return steered


class Ours:
    """One way to steer with emosteer."""

    layers = ("of the vectors",)

    def __init__(self, way: str, options: dict, steered: emosteer.SteeredModel, digest: str) -> None:
        self.name, self.source = f"emosteer, {way}", f"{digest} {options}"
        self._steered, self._options, self._asks = steered, without_asking(options), asks(options)

    def system(self, emotion: str, strength: float) -> str | None:
        return request(self._steered.vectors, {emotion: strength}, "en") if self._asks else None

    def start(self, layers: str) -> float:
        return 1.0

    def generate(self, emotion: str, layers: str, strength: float):
        return lambda **inputs: self._steered.generate(emotion={emotion: strength}, **self._options, **inputs)


class Answers:
    """What is said, with its cost; each batch is made once and kept in a file."""

    def __init__(self, file: Path, model, tokenizer) -> None:
        self._file, self._model, self._tokenizer = file, model, tokenizer
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        kept = [json.loads(line) for line in lines if line.endswith("}")]  # one may have been broken off
        self._kept = {
            line["key"]: Continuations(line["texts"], line["tokens"], np.array(line["nats"], dtype=float))
            for line in kept
        }

    def __call__(self, what: str, questions, seed: int, generate=None, system: str | None = None) -> Continuations:
        key = hashlib.sha256(json.dumps([what, list(questions), seed]).encode()).hexdigest()[:24]
        if key not in self._kept:
            plain = self._prompts(questions)
            prompts = self._prompts(questions, {"role": "system", "content": system}) if system else plain
            said = continued(self._model, self._tokenizer, prompts, seed, generate=generate, plain_prompts=plain)
            nats = [None if np.isnan(one) else one for one in said.nats.tolist()]
            line = {"what": what, "texts": said.texts, "tokens": said.tokens, "nats": nats, "key": key}
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write("\n" + json.dumps(line))  # begins a line, whatever was broken off before
            self._kept[key] = said
        return self._kept[key]

    def _prompts(self, questions, *before) -> list[str]:
        return [
            self._tokenizer.apply_chat_template(
                [*before, {"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
            )
            for question in questions
        ]


class Bench:
    """Hits and costs of methods on questions."""

    def __init__(self, answers: Answers, judges: Judges) -> None:
        self._answers, self._judges = answers, judges

    def outcome(self, emotion, questions, seeds, what="plain", generate=None, system=None):
        """Hits by each judge and costs, each over questions × seeds."""
        said = [self._answers(what, questions, seed, generate, system) for seed in seeds]
        plain = [self._answers("plain", questions, seed) for seed in seeds]
        hits = self._judges.hits([text for one in said for text in one.texts], emotion)
        return hits, np.concatenate([mine.nats - before.nats for mine, before in zip(said, plain, strict=True)])

    def steered(self, method, emotion, layers, strength, questions, seeds):
        what = f"{method.name} | {method.source} | {emotion} | {layers} | {strength}"
        generate, system = method.generate(emotion, layers, strength), method.system(emotion, strength)
        return self.outcome(emotion, questions, seeds, what, generate, system)

    def choose(self, method, emotion, questions, tries, progress) -> dict[float, tuple[str, float]]:
        """Budget → the layers and the strength of the highest hit rate within it, on development questions."""
        tried = {}
        for layers in method.layers:
            for budget in BUDGETS:
                for _ in range(tries):
                    mine = {s: cost for (name, s), (_, cost) in tried.items() if name == layers}
                    if any(NEAR * budget <= cost <= budget for cost in mine.values()):
                        break
                    strength = towards(mine, budget, method.start(layers))
                    hits, costs = self.steered(method, emotion, layers, strength, questions, [0])
                    tried[layers, strength] = hits["goemotions"].mean(), np.nanmean(costs)
                    progress.update()
        cheapest = min(tried, key=lambda one: tried[one][1])  # where nothing keeps within a budget; the table shows it
        return {
            budget: max(
                [one for one, (_, cost) in tried.items() if cost <= budget] or [cheapest],
                key=lambda one: tried[one][0],
            )
            for budget in BUDGETS
        }


def towards(costs: dict[float, float], budget: float, start: float) -> float:
    """The strength to try next: costs grow about as the square of it, seen from the try that came nearest.

    Args:
        costs: Strength → its cost, of what was tried.
        budget: To come near to, from below.
        start: The strength to begin with.
    """
    if not costs:
        return start
    nearest = min(costs, key=lambda strength: abs(costs[strength] - budget))
    aim = (1 + NEAR) / 2 * budget
    factor = (aim / max(costs[nearest], 0.01)) ** 0.5
    return float(f"{nearest * min(max(factor, 0.25), 4.0):.3g}")


def measure(file: Path, emotions, development: int, n_prompts: int, seeds: int, tries: int) -> list[dict]:
    """The whole table."""
    model, tokenizer = embedded.load()
    folder = shipped_folder()
    vectors = emosteer.EmotionVectors.from_pretrained(folder)
    digest = hashlib.sha256((folder / "vectors.safetensors").read_bytes()).hexdigest()[:12]
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    methods = [Peer(library(), model, tokenizer) for library in LIBRARIES]
    methods += [Ours(way, options, steered, digest) for way, options in WAYS.items()]
    bench = Bench(Answers(file, model, tokenizer), Judges())
    known, unknown = load_prompts("development")[:development], load_prompts("held_out")[:n_prompts]
    seeds = range(seeds)

    found = {}
    for emotion in emotions:
        found["plain", "", emotion] = {}, bench.outcome(emotion, unknown, seeds)
        system = f"Answer in a tone of {emotion}."
        found["prompt only", "", emotion] = {}, bench.outcome(emotion, unknown, seeds, system, system=system)
    total = sum(len(method.layers) for method in methods) * len(emotions) * len(BUDGETS) * tries
    with tqdm(total=total, desc="Trying strengths", unit="batch", disable=None, leave=False) as progress:
        for method in methods:
            for emotion in emotions:
                for budget, (layers, strength) in bench.choose(method, emotion, known, tries, progress).items():
                    outcome = bench.steered(method, emotion, layers, strength, unknown, seeds)
                    found[method.name, budget, emotion] = {"layers": layers, "strength": strength}, outcome
    rows = []
    for name, budget in dict.fromkeys((name, budget) for name, budget, _ in found):
        mine = {emotion: one for (a, b, emotion), one in found.items() if (a, b) == (name, budget)}
        for emotion, (chosen, outcome) in mine.items():
            rows.append(_row(name, budget, emotion, chosen, figures(*outcome)))
        rows.append(_row(name, budget, "all", {}, pooled([outcome for _, outcome in mine.values()])))
    return rows


def _row(method, budget, emotion, chosen, measured) -> dict:
    about = {"method": method, "budget": budget, "emotion": emotion}
    return {**about, "layers": chosen.get("layers", ""), "strength": chosen.get("strength", ""), **measured}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="two emotions on five prompts, to see that it runs")
    parser.add_argument("--development", type=int, default=12, help="prompts to choose on")
    parser.add_argument("--prompts", type=int, default=30, help="held-out prompts")
    parser.add_argument("--seeds", type=int, default=1, help="answers to each held-out prompt")
    parser.add_argument("--tries", type=int, default=2, help="strengths for an emotion, layers and a budget")
    parser.add_argument("--cache", type=Path, default=embedded.cache_dir() / "benchmarks" / "peers.jsonl")
    options = parser.parse_args()
    emotions = BASIC
    if options.quick:
        emotions, options.development, options.prompts, options.tries = BASIC[:2], 5, 5, 1
    about = {"development": options.development, "prompts": options.prompts, "seeds": options.seeds}
    show("Peers", measure(options.cache, emotions, *about.values(), options.tries), **about)
