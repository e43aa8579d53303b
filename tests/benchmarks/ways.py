"""Ways of steering beside each other, on development prompts: what the numbers of the recipes were chosen by.

Each basic emotion is asked for at strength 1.0 on as many development prompts of each kind. Reported are hit rate,
cost, cost beside asking, topic and refusals, with n. The held-out figures are those of `emosteer eval steering`.

    python -m tests.benchmarks.ways
    PYTHONPATH=.venv/qwen python -m tests.benchmarks.ways --model qwen [--only steered,drafts] [--prompts 12]
"""

from __future__ import annotations

import argparse

import emosteer
from emosteer.embedded import cache_dir
from emosteer.eval import evaluate_steering
from emosteer.eval.judges import BASIC
from emosteer.eval.prompts import spread, usual_prompts
from emosteer.steering.recipes import Recipe
from emosteer.vectors.shipped import SETS, shipped_folder
from tests.benchmarks import qwen
from tests.benchmarks.divergence import load
from tests.benchmarks.report import show

SCORES = ("cost", "cost_asked", "topic", "refusals", "disclaimers")
TRIED = {
    "steered": {
        f"dose {dose:g}, bonus {bonus:g}": (dose, bonus) for dose, bonus in ((0.8, 1.1), (1.05, 1.5), (1.3, 2))
    },
    "generated": {"generated tokens only, dose 1.5, bonus 1.5": (1.5, 1.5), "the same, dose 2.2": (2.2, 1.5)},
    "drafts": {f"dose .8, bonus 1.1, best of {drafts}": (0.8, 1.1, drafts) for drafts in (4, 8)},
    "asked": {
        "asked": (0, 0),  # of which the others' cost beside asking is told
        **{f"asked, dose {dose:g}, bonus {bonus:g}": (dose, bonus) for dose, bonus in ((0.3, 0.4), (0.45, 0.7))},
    },
}


def ways(kind: str) -> dict[str, dict]:
    """Options for `generate` of every way of a kind."""
    found = {}
    for name, (dose, bonus, *drafts) in TRIED[kind].items():
        recipe = Recipe(dose, bonus, 0.1, asks=kind == "asked", drafts=drafts[0] if drafts else 1)
        found[name] = {"recipe": recipe, **({"scope": "generated"} if kind == "generated" else {})}
    return found


def measure(steered: emosteer.SteeredModel, kinds: list[str], prompts: int, language: str) -> list[dict]:
    """A row for every way."""
    tried = {name: how for kind in kinds for name, how in ways(kind).items()}
    report = evaluate_steering(
        steered,
        emotions=BASIC,
        ways=tried,
        strengths=(1.0,),
        prompts=spread(usual_prompts("development", language, chat=True), prompts),
        n_prompts=prompts,
        language=language,
        controls=False,
        cache=cache_dir() / "benchmarks" / "ways",
    )
    cells = {way: report.cell(way, None, 1.0) for way in tried}
    return [
        {
            "way": way,
            "n": cell.n,
            **{f"hit, {judge}": scores["hit"].value for judge, scores in cell.judged.items() if "hit" in scores},
            **{score: cell.text[score].value for score in SCORES if score in cell.text},
        }
        for way, cell in cells.items()
        if cell
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--vectors", help="a folder or a repository; by default those that come with emosteer")
    parser.add_argument("--only", type=lambda names: names.split(","), default=[*TRIED])
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--language", default="en")
    options = parser.parse_args()
    folder = options.vectors or shipped_folder(SETS[qwen.MODEL_ID if options.model == "qwen" else options.model])
    steered = emosteer.SteeredModel(*load(options.model, "float32"), emosteer.EmotionVectors.from_pretrained(folder))
    rows = measure(steered, options.only, options.prompts, options.language)
    show("Ways of steering, development prompts", rows, **vars(options))
