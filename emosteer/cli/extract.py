"""The command extract: emotion vectors for a model, with their doses."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

import emosteer
from emosteer.cli.calibrate import answers_cache, installed_judge, print_calibration, save
from emosteer.cli.loading import loading
from emosteer.cli.options import (
    AnswersOption,
    BatchOption,
    JsonOption,
    KeptLayersOption,
    ModelOption,
    OnlyOption,
    OutputOption,
    parse_layers,
    parse_names,
    require_folder,
)
from emosteer.cli.printing import interruptible, print_json, say
from emosteer.errors import InputError

__all__ = ["extract"]


def extract(
    output: OutputOption,
    model: ModelOption = "embedded",
    concepts: Annotated[str, typer.Option(help="Built-in concept sets, as en or en,zh; or a JSON file.")] = "en",
    emotions: OnlyOption = None,
    method: Annotated[str, typer.Option(help="mean_difference, pca or logistic.")] = "mean_difference",
    pooling: Annotated[str, typer.Option(help="mean or last.")] = "mean",
    layers: KeptLayersOption = None,
    batch_size: BatchOption = 32,
    calibrate: Annotated[
        bool, typer.Option(help="Then refine the doses by some 2,000 answers, as `calibrate` does.")
    ] = False,
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
    """Build emotion vectors for a model from a concept set, with doses.

    By a quick calibration, strength 1.0 of every emotion moves the model equally far. The same concept
    set, calibration and measurements give the same files, byte for byte.
    """
    from emosteer.calibration import CALIBRATION_FILE
    from emosteer.model import SteeredModel
    from emosteer.models.loading import load_model
    from emosteer.reading.fit import fit_readout
    from emosteer.vectors.records import Record

    written = [CALIBRATION_FILE] if calibrate or calibration else []
    require_folder(output, [*written, *(file.name for file in measured or [])])  # before minutes of reading
    doses = emosteer.Calibration.load(calibration) if calibration else None
    records = [Record.load(file) for file in measured or []]
    texts = emosteer.ConceptSet.load(concepts)
    if names := parse_names(emotions):
        texts = texts.subset(names)
    with loading(model):
        parts = load_model(model)
    with interruptible("Nothing was written; the same command starts anew."):
        vectors = emosteer.extract(
            *parts,
            texts,
            method=method,
            pooling=pooling,
            layers=parse_layers(layers),
            batch_size=batch_size,
        )
        with suppress(InputError):  # the context is too short for the texts; the model can be steered all the same
            vectors = replace(vectors, readout=fit_readout(*parts, vectors))
    if doses is None and calibrate:
        steered, answers = SteeredModel(*parts, vectors), cache or answers_cache()
        with interruptible(f"Finished answers are kept in {answers}; the same command reads anew and goes on there."):
            doses = emosteer.calibrate(steered, judge=installed_judge(), cache=answers)
    for record in records:
        record.check(vectors.config)
    vectors = save(vectors, doses, output, records)
    if as_json:
        contents = {"output": str(output), "emotions": list(vectors.emotions), "layers": list(vectors.layers)}
        print_json({**contents, "calibrated": list(vectors.doses)})
        return
    if doses:
        print_calibration(doses)
    say(f"{len(vectors.emotions)} emotions at {len(vectors.layers)} layers: {output}")
