"""The card: README.md of a folder of vectors, written from what the file holds and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emosteer.errors import InputError

if TYPE_CHECKING:
    from emosteer.vectors import EmotionVectors

BEGIN = "<!-- emosteer: written from the file; what you write outside these marks is kept -->"
END = "<!-- /emosteer -->"
MEASURED = "<!-- emosteer: measured, written by `emosteer eval steering --card` -->"
MEASURED_END = "<!-- /emosteer: measured -->"

__all__ = ["render", "updated", "with_measured"]


def updated(path: Path, vectors: EmotionVectors) -> str:
    """The card for a folder: new, or the one that is there with emosteer's part written anew.

    Args:
        path: Of the card, which may not exist.
        vectors: What it describes.

    Raises:
        InputError: The card that is there cannot be read.
    """
    body = f"{BEGIN}\n{render(vectors)}{END}\n"
    if not path.is_file():
        return _front_matter(vectors) + body
    try:
        before, mark, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The card {path} that is already there cannot be read ({error}).") from error
    _, end, after = rest.partition(END)
    if mark and end:
        return before + body + after.removeprefix("\n")
    theirs = before + mark + rest  # written by hand: kept whole, with ours after it
    return ("" if theirs.startswith("---\n") else _front_matter(vectors)) + f"{theirs.rstrip()}\n\n{body}"


def with_measured(text: str, section: str) -> str:
    """A card with a section on what was measured, in place of the one that it has or at its end.

    Args:
        text: The card.
        section: In Markdown.
    """
    before, _, rest = text.partition(MEASURED)
    _, _, after = rest.partition(MEASURED_END)
    return f"{before.rstrip()}\n\n{MEASURED}\n{section}{MEASURED_END}\n{after.removeprefix(chr(10))}"


def render(vectors: EmotionVectors) -> str:
    """The generated part of the card, in Markdown."""
    base = vectors.base_model
    name = base.repo_id or f"a local {base.model_type} model"
    extraction = vectors.extraction
    stability = extraction.get("stability", {})
    lines = [
        f"# Emotion vectors for {name}",
        "",
        f"{len(vectors.emotions)} emotions as directions in the residual stream of {name}"
        + (f" ({base.weights_variant})" if base.weights_variant else "")
        + f", {len(vectors.layers)} of {base.num_hidden_layers} layers, width {base.hidden_size}. "
        "Made by emosteer, which adds them while the model runs; no weight is changed.",
        "",
        "```python",
        "import emosteer",
        "",
        f'model = "{base.repo_id or "path/to/model"}"',
        'steered = emosteer.SteeredModel.from_pretrained(model, vectors="path/to/this/folder")',
        f'print(steered.chat("How was your morning?", emotion={{"{vectors.emotions[0]}": 1.0}}))',
        "```",
        "",
        "| emotion | valence | arousal | dose | layers | cost, nats a token | hit rate | stability |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for emotion in vectors.emotions:
        info, dose = vectors.info[emotion], vectors.dose(emotion)
        cells = [
            emotion,
            _number(info.valence),
            _number(info.arousal),
            f"{dose.dose:.2f}" + ("" if emotion in vectors.doses else " (fallback)"),
            f"{dose.layers[0]} to {dose.layers[-1]}" if len(dose.layers) > 1 else str(dose.layers[0]),
            _number(dose.cost),
            _number(dose.hit_rate),
            _number(stability.get(emotion)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    sources = sorted({info.source for info in vectors.info.values() if info.source})
    lines += [
        "",
        "Human valence and arousal from −1 to 1" + (f": {'; '.join(sources)}." if sources else " where known."),
    ]
    if budgets := sorted({dose.budget for dose in vectors.doses.values() if dose.budget is not None}):
        lines += [
            "",
            f"Doses were measured: strength 1.0 costs {' or '.join(f'{budget:g}' for budget in budgets)} nats a token "
            "more than plain answers do, or less where more would add no tone. Cost is what the fitted curve gives at "
            "the dose, the hit rate the share of answers there in which a judge finds the emotion.",
        ]
    if extraction:
        counts = extraction.get("counts", {})
        lines += [
            "",
            "## How they were made",
            "",
            f"Method `{extraction.get('method')}`, pooling `{extraction.get('pooling', '–')}`"
            + (
                f", from the concept set `{extraction['concepts']}` "
                f"({counts.get('emotional')} texts on emotions, {counts.get('neutral')} neutral; "
                f"sha256 `{str(extraction.get('concepts_digest'))[:16]}…`)"
                if "concepts" in extraction
                else ""
            )
            + ". Stability is the mean cosine between directions from two halves of the texts. "
            "The dose is in units of the mean residual norm, shared by the layers named; "
            "a fallback dose has not been calibrated for the emotion.",
        ]
    lines += [
        "",
        "## Limits and responsible use",
        "",
        "Vectors shift how a text sounds, not what is true, and a strong tone costs fluency. They carry what the model "
        "and the writers of the concept set associate with an emotion, which is not everyone's. A model that sounds "
        "glad or hurt feels nothing: say so where people might think otherwise, and do not use tone to press or "
        "deceive them.",
        "",
    ]
    return "\n".join(lines)


def _front_matter(vectors: EmotionVectors) -> str:
    base = vectors.base_model
    lines = ["---", "library_name: emosteer", "tags:", "- emosteer", "- steering-vectors", "- emotion"]
    if base.repo_id:
        lines += [f"base_model: {base.repo_id}", "base_model_relation: adapter"]
    if languages := vectors.extraction.get("languages"):
        lines += ["language:", *(f"- {language}" for language in languages)]
    if vectors.license:
        lines.append(f"license: {vectors.license.lower()}")
    return "\n".join([*lines, "---", "", ""])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")
