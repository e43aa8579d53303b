"""Commands that measure: eval steering, eval alignment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emosteer.cli import printing
from emosteer.cli.options import (
    JsonOption,
    ModelOption,
    SeedOption,
    VectorsOption,
    doses_of,
    require_folder,
    steered_model,
    steered_or_extracted,
)
from emosteer.cli.printing import print_json
from emosteer.errors import InputError, require


def eval_steering(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    model: ModelOption = "embedded",
    vectors: VectorsOption = None,
    emotions: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    full: Annotated[bool, typer.Option("--full", help="All emotions at all strengths, 60 prompts, 3 seeds.")] = False,
    strengths: Annotated[str | None, typer.Option(help="In doses, as 0.5,1; 0 is always among them.")] = None,
    n_prompts: Annotated[int | None, typer.Option(min=1, help="As many prompts for everything.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Answers to each prompt; 1 by default.")] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(help="One that comes with emosteer, or a text-classification model; may be given many times."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of finished batches; OUTPUT/cache by default.")] = None,
    card: Annotated[bool, typer.Option("--card", help="Put the results into the vectors' file and card.")] = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure what tones do to text and what they cost.

    By default each basic emotion is asked for at strengths 0, .25, .5, .75 and 1 on 20 held-out prompts, the other
    emotions that a judge knows on 4, the rest at 1 only; the controls at 1 on 10. Each of this by plain addition and by
    the recipe "natural": with the embedded model about 2,000 answers of 32 tokens. Interrupted and started again, it
    goes on where it was.

    Writes steering.json and the figures. With --card, the folder of the vectors gets both, their file a summary under
    `measured`, and their card is written anew from it; the directions stay as they are, byte for byte.
    """
    from emosteer._util.atomic import require_writable
    from emosteer.eval.judges import named_judge
    from emosteer.eval.steering.evaluation import FULL, evaluate_steering
    from emosteer.eval.steering.report import JSON, notes, tables, write_report
    from emosteer.vectors.records import Record, put

    require_writable(output)  # known now rather than after minutes of answering
    folder = _with_card(vectors) if card else None
    require("eval", "matplotlib")
    grid: dict[str, Any] = dict(FULL) if full else {}
    grid |= {name: given for name, given in (("n_prompts", n_prompts), ("seeds", seeds)) if given}
    if strengths is not None:
        grid["strengths"] = doses_of(strengths)
    report = evaluate_steering(
        steered_model(model, vectors),
        judges=[named_judge(name) for name in judge] if judge else None,
        emotions=[name.strip() for name in emotions.split(",")] if emotions else None,
        seed=seed,
        cache=cache or output / "cache",
        **grid,
    )
    files = write_report(report, output)
    if folder:
        put(folder, [Record.load(output / JSON)])
    if as_json:
        print_json(report.to_dict())
        return
    for table in tables(report):
        printing.out.print(table)
    for line in (*notes(report), f"Written: {', '.join(str(file) for file in files.values())}"):
        printing.out.print(line, highlight=False)


def eval_alignment(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    model: ModelOption = "embedded",
    vectors: VectorsOption = None,
    languages: Annotated[str | None, typer.Option(help="As en,zh; by default those of vectors and norms.")] = None,
    norms: Annotated[
        list[str] | None,
        typer.Option(
            help="Ratings of words: a published file, or FILE,language=…,word=…,valence=…,arousal=…,scale=LOW:HIGH; "
            "may be given many times.",
            show_default=False,
        ),
    ] = None,
    categories: Annotated[
        Path | None,
        typer.Option(help="Further ratings of the emotions: CSV with category and NAME_v, NAME_a.", show_default=False),
    ] = None,
    permutations: Annotated[int, typer.Option(min=100, help="Random permutations for every p.")] = 5_000,
    cache: Annotated[Path | None, typer.Option(help="Folder of what was read; emosteer's own by default.")] = None,
    card: Annotated[bool, typer.Option("--card", help="Put the results into the vectors' file and card.")] = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure how a model's emotion space agrees with human valence and arousal, within and across languages.

    Representational similarity, components, held-out axes, word ratings and their controls, transfer between
    languages, and what languages share. Without vectors, directions are first extracted in those languages.

    Writes alignment.json, alignment.html (one page that needs nothing else), the figures, and the words with their
    predicted ratings. With --card, the folder of the vectors gets the JSON and the figures, their file a summary under
    `measured`, and their card is written anew from it; the directions stay as they are, byte for byte.
    """
    from emosteer._util.atomic import require_writable
    from emosteer.embedded import cache_dir
    from emosteer.eval.alignment import evaluate_alignment
    from emosteer.eval.alignment.report import JSON, write_report
    from emosteer.eval.alignment.tables import notes, tables
    from emosteer.eval.norms import load_category_norms, parse_norms
    from emosteer.vectors.records import Record, put

    require_writable(output)  # known now rather than after minutes of reading
    folder = _with_card(vectors) if card else None
    require("eval", "matplotlib")
    rated = [parse_norms(one) for one in norms or []]
    sets = load_category_norms(categories) if categories else None
    asked = [code.strip() for code in languages.split(",")] if languages else None
    report = evaluate_alignment(
        steered_or_extracted(model, vectors, asked or ["en", *(one.language for one in rated)]),
        norms=rated,
        languages=asked,
        categories=sets,
        permutations=permutations,
        seed=seed,
        cache=cache or cache_dir() / "words",
    )
    files = write_report(report, output)
    if folder:
        put(folder, [Record.load(output / JSON)])
    if as_json:
        print_json(report.to_dict())
        return
    for table in tables(report):
        printing.out.print(table)
    for line in (*notes(report), f"Written: {', '.join(str(file) for file in files.values())}"):
        printing.out.print(line, highlight=False)


def _with_card(vectors: str | None) -> Path:
    """The folder of vectors whose card is to be written."""
    if vectors is None or not Path(vectors).is_dir():
        raise InputError("There is no card to write into.", "Name a folder of vectors with --vectors.")
    require_folder(Path(vectors))
    return Path(vectors)
