"""The card: README.md of a folder of vectors, written from what the file holds and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer.errors import InputError

if TYPE_CHECKING:
    from emosteer.vectors import EmotionVectors

BEGIN = "<!-- emosteer: written from the file; what you write outside these marks is kept -->"
END = "<!-- /emosteer -->"
MEASURED = {
    "steering": (
        "<!-- emosteer: measured, written by `emosteer eval steering --card` -->",
        "<!-- /emosteer: measured -->",
    ),
    "alignment": (
        "<!-- emosteer: alignment, written by `emosteer eval alignment --card` -->",
        "<!-- /emosteer: alignment -->",
    ),
}
"""Marks around each section on what was measured."""

__all__ = ["merged", "metadata", "new", "render", "updated", "with_measured", "with_metadata"]


def new(vectors: EmotionVectors) -> str:
    """The card of vectors that have none yet."""
    return _front_matter(vectors) + f"{BEGIN}\n{render(vectors)}{END}\n"


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
        return new(vectors)
    try:
        before, mark, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The card {path} that is already there cannot be read ({error}).") from error
    _, end, after = rest.partition(END)
    if mark and end:
        return before + body + after.removeprefix("\n")
    theirs = before + mark + rest  # written by hand: kept whole, with ours after it
    return ("" if theirs.startswith("---\n") else _front_matter(vectors)) + f"{theirs.rstrip()}\n\n{body}"


def merged(theirs: str, ours: str) -> str:
    """A card that people have edited, with emosteer's part and fields of a newer one; every other byte is kept.

    Args:
        theirs: The card as it is, on the Hub for example.
        ours: The card of the vectors as they are now.

    Raises:
        InputError: The front matter of one of them cannot be read or set.
    """
    body = BEGIN + ours.partition(BEGIN)[2].partition(END)[0] + END
    before, mark, rest = theirs.partition(BEGIN)
    _, end, after = rest.partition(END)
    text = before + body + after if mark and end else f"{theirs.rstrip()}\n\n{body}\n"
    there = metadata(text)
    for name, value in metadata(ours).items():
        if name == "tags":
            value = list(dict.fromkeys([*(there.get("tags") or []), *value]))  # noqa: PLW2901
        if there.get(name) != value:
            text = with_metadata(text, name, value)
    return text


def with_measured(text: str, section: str, of: str = "steering") -> str:
    """A card with a section on what was measured, in place of the one that it has or at its end.

    Args:
        text: The card.
        section: In Markdown.
        of: Which section, a key of `MEASURED`.
    """
    begin, end = MEASURED[of]
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before.rstrip()}\n\n{begin}\n{section}{end}\n{after.removeprefix(chr(10))}"


def metadata(text: str) -> dict[str, Any]:
    """The front matter of a card, as the Hub reads it; empty if there is none.

    Args:
        text: The card.

    Raises:
        InputError: It is not YAML, or a model index in it is none that the Hub knows.
    """
    import yaml  # type: ignore[import-untyped]
    from huggingface_hub import ModelCardData
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    try:
        found = REGEX_YAML_BLOCK.search(text)
        told = (yaml.safe_load(found[2]) if found else None) or {}
        ModelCardData(**told)
    except (yaml.YAMLError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())[:300]
        raise InputError(
            f"The front matter of the card cannot be read ({why}).", "Mend what stands between its two lines of ---."
        ) from error
    return dict(told)


def with_metadata(text: str, name: str, value: object) -> str:
    """A card with one field of its front matter set, and every other byte as it was.

    Args:
        text: The card.
        name: Of the field.
        value: What it becomes, plain data.

    Raises:
        InputError: The front matter cannot be read, or is written so that one field cannot be set alone.
    """
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    there = metadata(text)
    field = yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True).rstrip("\n")
    if not (found := REGEX_YAML_BLOCK.search(text)):
        return f"---\n{field}\n---\n\n{text}"
    lines = found[2].splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if line.startswith(f"{name}:")), len(lines))
    # A field goes on over lines that are indented, list items, empty or comments; the last two may be the next one's.
    inside = [i for i, line in enumerate(lines) if i > start and line[0] in " \t-"]
    stop = next((i for i, line in enumerate(lines) if i > start and line[0] not in " \t-#\r\n"), len(lines))
    stop = 1 + max((i for i in inside if i < stop), default=start)
    before, after = "".join(lines[:start]), "".join(lines[stop:])
    if before and not before.endswith(("\n", "\r")):
        before += "\n"
    set_so = f"{text[: found.start(2)]}{before}{field}{'' if not after else chr(10)}{after}{text[found.end(2) :]}"
    twice = name in there and start == len(lines)
    if twice or metadata(set_so) != {**there, name: value}:
        raise InputError(
            f"{name} cannot be set in the front matter of the card without touching the rest.",
            f"Take {name} out of it and run this again.",
        )
    return set_so


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
