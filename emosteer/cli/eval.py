"""The commands that measure: eval steering, eval alignment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emosteer.cli import printing
from emosteer.cli.loading import loading
from emosteer.cli.options import (
    CardOption,
    JsonOption,
    LanguageOption,
    ModelOption,
    OnlyOption,
    OutputOption,
    SeedOption,
    VectorsOption,
    parse_names,
    parse_strengths,
    require_folder,
    steered_model,
    steered_or_extracted,
)
from emosteer.cli.printing import interruptible, print_json
from emosteer.errors import InputError, require

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(no_args_is_help=True, help="Measure what vectors do.")

__all__ = ["app"]


@app.command("steering")
def eval_steering(
    output: OutputOption,
    model: ModelOption = "embedded",
    vectors: VectorsOption = None,
    emotions: OnlyOption = None,
    full: Annotated[bool, typer.Option("--full", help="All emotions at all strengths, 60 prompts, 3 seeds.")] = False,
    language: LanguageOption = None,
    strengths: Annotated[str | None, typer.Option(help="In doses, as 0.5,1; 0 is always among them.")] = None,
    n_prompts: Annotated[int | None, typer.Option(min=1, help="As many prompts for everything.")] = None,
    others: Annotated[int | None, typer.Option(min=1, help="As many prompts for emotions that are not basic.")] = None,
    ways: Annotated[
        str | None, typer.Option(help="As additive,natural; by default plain addition and the recipes of one draft.")
    ] = None,
    tasks: Annotated[
        bool, typer.Option("--tasks", help="Also count which of 40 tasks are solved in each tone.")
    ] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Answers to each prompt; 1 by default.")] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(help="One that comes with emosteer, or a text-classification model; may be given many times."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of finished batches; OUTPUT/cache by default.")] = None,
    languages: Annotated[
        str | None, typer.Option(help="Measure what crosses languages instead: as en,zh.", show_default=False)
    ] = None,
    card: CardOption = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure what tones do to text and what they cost.

    By default each basic emotion is asked for at strengths 0, .25, .5, .75 and 1 on 24 held-out prompts of six kinds,
    the other emotions that a judge knows on 6, the rest at 1 only; the controls at 1 on 12. Each of this by plain
    addition and by every recipe of one draft: with the embedded model about 5,000 answers of 32 tokens. Interrupted and
    started again, it goes on where it was. The judges that come with emosteer know English and Chinese; for another
    language, name one with --judge.

    Writes steering.json and the figures. With --card, the folder of the vectors gets both, their file a summary under
    `measured`, and their card is written anew from it; the directions stay as they are, byte for byte.

    With --languages, vectors are extracted from the concept set of each language and of all together, into folders
    under OUTPUT, and each of these sets steers prompts in each language, at strength 1 by the recipes natural and
    asked_and_steered. Writes languages.json and its figure.
    """
    if languages is not None:
        lone = {"--vectors": vectors, "--card": card, "--full": full, "--language": language, "--strengths": strengths}
        _refuse_beside_languages(lone | {"--others": others, "--tasks": tasks, "--seeds": seeds})
        _eval_languages(
            output,
            model,
            languages=[*dict.fromkeys(parse_names(languages) or ())],
            emotions=parse_names(emotions),
            n_prompts=n_prompts,
            ways=ways,
            judge=judge,
            cache=cache,
            seed=seed,
            as_json=as_json,
        )
        return

    from emosteer._util.atomic import require_writable
    from emosteer._util.layout import FIGURES_OF
    from emosteer._util.own_files import require_own
    from emosteer.eval.judges import named_judge
    from emosteer.eval.steering.evaluation import FULL, default_ways, evaluate_steering, possible_ways
    from emosteer.eval.steering.kept import evaluate_tasks
    from emosteer.eval.steering.report import JSON, notes, tables, write_report
    from emosteer.vectors.records import Record, put

    require_writable(output)  # before minutes of answering
    require_own(output, [JSON, *FIGURES_OF[JSON]])
    folder = _with_card(vectors, JSON) if card else None
    require("eval", "matplotlib")
    grid: dict[str, Any] = dict(FULL) if full else {}
    grid |= {
        name: number for name, number in (("n_prompts", n_prompts), ("n_others", others), ("seeds", seeds)) if number
    }
    if strengths is not None:
        grid["strengths"] = parse_strengths(strengths)
    steered, answers = steered_model(model, vectors), cache or output / "cache"
    possible, named = possible_ways(steered.tokenizer), parse_names(emotions)
    measured = _ways(possible, ways) if ways else default_ways(steered)
    with interruptible(f"Finished answers are kept in {answers}; the same command goes on from there."):
        same: dict[str, Any] = {"ways": measured, "emotions": named, "language": language, "cache": answers}
        strongest = {"strength": max(grid["strengths"])} if strengths is not None else {}
        kept = evaluate_tasks(steered, **same, **strongest) if tasks else None
        known = [named_judge(name) for name in judge] if judge else None
        report = evaluate_steering(steered, judges=known, seed=seed, **same, **grid)
    report = replace(report, tasks=kept)
    files = write_report(report, output)
    if folder:
        put(folder, [Record.load(output / JSON)])
    if as_json:
        print_json(report.to_dict())
        return
    _print(tables(report), notes(report), files)


@app.command("alignment")
def eval_alignment(
    output: OutputOption,
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
    card: CardOption = False,
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
    from emosteer._util.layout import FIGURES_OF
    from emosteer._util.own_files import require_own
    from emosteer.embedded import cache_dir
    from emosteer.eval.alignment import evaluate_alignment
    from emosteer.eval.alignment.report import JSON, PAGE, write_report
    from emosteer.eval.alignment.tables import notes, tables
    from emosteer.eval.norms import load_category_norms, parse_norms
    from emosteer.vectors.records import Record, put

    require_writable(output)  # before minutes of reading
    require_own(output, [JSON, PAGE, *FIGURES_OF[JSON], *(file.name for file in output.glob("words-*.csv"))])
    folder = _with_card(vectors, JSON) if card else None
    require("eval", "matplotlib")
    rated = [parse_norms(source) for source in norms or []]
    sets = load_category_norms(categories) if categories else None
    codes = parse_names(languages)
    words = cache or cache_dir() / "words"
    with interruptible(f"What was read of words is kept in {words}; the same command goes on from there."):
        report = evaluate_alignment(
            steered_or_extracted(model, vectors, codes or ["en", *(ratings.language for ratings in rated)]),
            norms=rated,
            languages=codes,
            categories=sets,
            permutations=permutations,
            seed=seed,
            cache=words,
        )
    files = write_report(report, output)
    if folder:
        put(folder, [Record.load(output / JSON)])
    if as_json:
        print_json(report.to_dict())
        return
    _print(tables(report), notes(report), files)


def _refuse_beside_languages(given: Mapping[str, object]) -> None:
    """Refuse the options that say something else than --languages does.

    Raises:
        InputError: One of them is given.
    """
    why = {
        "--vectors": "vectors are extracted from each language",
        "--card": "the results are of several sets of vectors, and no card is of all",
        "--language": "the prompts are in all of them",
        "--tasks": "tasks are counted for one set of vectors",
    }
    for option, value in given.items():
        if value:
            reason = why.get(option, "every prompt is answered once, at strength 1, for each basic emotion")
            raise InputError(f"{option} cannot stand beside --languages: {reason}.", "Leave one of them out.")


def _eval_languages(
    output: Path,
    model: str,
    *,
    languages: list[str],
    emotions: list[str] | None,
    n_prompts: int | None,
    ways: str | None,
    judge: list[str] | None,
    cache: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Extract vectors in each language, and measure what each set does to text in each of them."""
    from emosteer._util.atomic import require_writable
    from emosteer._util.layout import FIGURES_OF
    from emosteer._util.own_files import require_own
    from emosteer.calibration import extract_languages
    from emosteer.eval.judges import named_judge
    from emosteer.eval.steering.crossing import evaluate_languages, require_crossing
    from emosteer.eval.steering.crossing_report import JSON, notes, tables, write_report
    from emosteer.eval.steering.evaluation import possible_ways
    from emosteer.models.loading import load_model

    require_writable(output)  # before minutes of reading and answering
    require_own(output, [JSON, *FIGURES_OF[JSON]])
    require("eval", "matplotlib")
    known = [named_judge(name) for name in judge] if judge else None
    with loading(model):
        parts = load_model(model)
    require_crossing(languages, emotions, n_prompts, chat=bool(parts[1].chat_template))
    measured = _ways(possible_ways(parts[1]), ways) if ways else None
    answers = cache or output / "cache"
    with interruptible(f"Vectors are kept in {output}, answers in {answers}; the same command goes on from there."):
        vectors = extract_languages(*parts, languages, output)
        report = evaluate_languages(
            *parts,
            vectors,
            judges=known,
            emotions=emotions,
            ways=measured,
            n_prompts=n_prompts,
            seed=seed,
            cache=answers,
        )
    files = write_report(report, output)
    if as_json:
        print_json(report.to_dict())
        return
    _print(tables(report), notes(report), files)


def _ways(known: Mapping[str, Mapping[str, Any]], names: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the ways of steering of these names."""
    wanted = parse_names(names) or []
    if unknown := [name for name in wanted if name not in known]:
        raise InputError(
            f"There is no way of steering {unknown[0]!r} for this model.", f"There are: {', '.join(known)}."
        )
    return {name: known[name] for name in wanted}


def _with_card(vectors: str | None, record: str) -> Path:
    """Return the folder of the vectors, whose card is to be written."""
    if vectors is None or not Path(vectors).is_dir():
        raise InputError("There is no card to write into.", "Name a folder of vectors with --vectors.")
    require_folder(Path(vectors), [record], kept=True)
    return Path(vectors)


def _print(tables: Iterable[Table], notes: Iterable[str], files: Mapping[str, Path]) -> None:
    for table in tables:
        printing.out.print(table)
    for line in (*notes, f"Written: {', '.join(map(str, files.values()))}"):
        printing.out.print(line, highlight=False)
