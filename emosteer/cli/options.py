"""What commands share: their options, how the text of an option is parsed, and loading a model with its vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import emosteer
from emosteer._util import strict_json
from emosteer._util.text import checked, recovered
from emosteer.cli.loading import loading
from emosteer.errors import InputError
from emosteer.vectors.shipped import SETS, shipped_folder

if TYPE_CHECKING:
    from emosteer.model import SteeredModel
    from emosteer.steering import Affect


def text_of(parameter: typer.CallbackParam, value: str | None) -> str | None:
    """Return the text of an argument or option, also where the locale knows ASCII only and Python left bytes in it.

    Raises:
        InputError: It holds bytes that are not text.
    """
    return None if value is None else checked(recovered(value), f"The {parameter.name}")


MOST_LAYERS = 10_000
"""More than any model has."""

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="'embedded', a Hub id, a folder or a .gguf file.", show_default=True)
]
VectorsOption = Annotated[
    str | None, typer.Option("--vectors", "-v", help="Folder or .safetensors file of vectors, or user/name on the Hub.")
]
VectorsArgument = Annotated[
    str, typer.Argument(help="Folder or .safetensors file of vectors, or user/name on the Hub.", show_default=False)
]
RevisionOption = Annotated[
    str | None, typer.Option(help="Branch, tag or commit on the Hub.", callback=text_of, show_default=False)
]
SubfolderOption = Annotated[str | None, typer.Option(help="Of the repository, if it holds several sets.")]
LimitOption = Annotated[int, typer.Option(min=1, help="Most to list.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
SeedOption = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="For sampling; the same seed gives the same answer.")
]
TokensOption = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer.")]
AnswersOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder of finished answers; emosteer's own by default.")
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", show_default=False)]
OnlyOption = Annotated[str | None, typer.Option("--emotions", help="Only these, separated by commas.")]
KeptLayersOption = Annotated[
    str | None, typer.Option("--layers", help="Layers to keep, as 0-29 or 8,12,16; all by default.")
]
SteeredLayersOption = Annotated[
    str | None, typer.Option("--layers", help="Steer after these layers, as 10-19 or 8,12,16.")
]
LanguageOption = Annotated[
    str | None, typer.Option("--language", help="Of the prompts, as zh; by default that of the vectors.")
]
BatchOption = Annotated[int, typer.Option("--batch-size", min=1, help="Texts at a time.")]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        help="""What the chat template takes besides the prompt, as '{"enable_thinking": false}'.""", callback=text_of
    ),
]
EmotionsOption = Annotated[
    list[str] | None, typer.Option("--emotion", "-e", help="EMOTION or EMOTION=STRENGTH; may be given many times.")
]
ValenceOption = Annotated[
    float | None, typer.Option(min=-1, max=1, help="Instead of emotions: unpleasant −1 to pleasant 1.")
]
ArousalOption = Annotated[
    float | None, typer.Option(min=-1, max=1, help="Instead of emotions: still −1 to stirred up 1.")
]
CardOption = Annotated[bool, typer.Option("--card", help="Put the results into the vectors' file and card.")]


def parse_tone(emotions: list[str] | None, valence: float | None, arousal: float | None) -> dict[str, float] | Affect:
    """Parse a tone: emotions as `joy=0.8`, or `joy` for strength 1.0; or a point of valence and arousal.

    Returns:
        Emotion → strength, empty if nothing is given; or the point.

    Raises:
        InputError: Both are given, an emotion is given twice, or a strength is not a number.
    """
    from emosteer.steering import Affect

    tone: dict[str, float] = {}
    for name, strength in map(_parse_strength, emotions or ()):
        if name in tone:
            raise InputError(f"{name} is given twice, with {tone[name]:g} and {strength:g}.", "Give it once.")
        tone[name] = strength
    if valence is None and arousal is None:
        return tone
    if tone:
        raise InputError("A tone is either emotions or valence and arousal.", "Leave out one of them.")
    return Affect(valence or 0.0, arousal or 0.0)


def _parse_strength(text: str) -> tuple[str, float]:
    name, separator, number = text.partition("=")
    try:
        return name.strip(), float(number) if separator else 1.0
    except ValueError:
        raise InputError(f"{text!r} is not EMOTION=STRENGTH.", "For example: --emotion joy=0.8") from None


def parse_names(text: str | None) -> list[str] | None:
    """Parse names separated by commas, as `joy,fear`; without text, return None."""
    return None if text is None else [name.strip() for name in text.split(",")]


def parse_strengths(text: str) -> tuple[float, ...]:
    """Parse strengths separated by commas, as `0.25,0.5,1`.

    Raises:
        InputError: One of them is not a number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{text!r} does not name strengths.", "For example: 0.25,0.5,1") from None


def parse_layers(text: str | None) -> tuple[int, ...] | None:
    """Parse layers, as `10-19` or `8,12,16` or both; without text, return None.

    Raises:
        InputError: One of them is not the number of a layer.
    """
    if text is None:
        return None
    layers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            layers.extend(range(int(first), min(int(last if dash else first), MOST_LAYERS) + 1))
        except (ValueError, OverflowError):
            raise InputError(f"{text!r} does not name layers.", "For example: 10-19, or 8,12,16") from None
    return tuple(layers)


def parse_template(text: str | None) -> dict[str, Any] | None:
    """Parse variables of a chat template, a JSON object; without text, return None.

    Raises:
        InputError: It is none.
    """
    if text is None:
        return None
    try:
        variables = strict_json.loads(text.encode(errors="surrogatepass"))
    except ValueError:
        variables = None
    if not isinstance(variables, dict):
        raise InputError(f"{text!r:.60} is no JSON object.", """For example: '{"enable_thinking": false}'""")
    return variables


def require_folder(folder: Path, records: Sequence[str] = (), *, kept: bool = False) -> None:
    """Check before minutes of work that vectors can be written to a folder, and nothing is lost that is there.

    Args:
        folder: To write.
        records: Names of the records that are written beside the vectors.
        kept: Whether the vectors that are there stay, so that other records remain true of them.

    Raises:
        InputError: The folder cannot be written, its card cannot be edited, a file to be replaced is not emosteer's, or
            a record is of the vectors that would be replaced.
    """
    from emosteer._util.atomic import require_writable
    from emosteer._util.layout import CARD_FILE, CONFIG_FILE, RECORDS, VECTORS_FILE
    from emosteer._util.own_files import is_own, require_own
    from emosteer.vectors import card

    require_writable(folder)
    require_own(folder, [VECTORS_FILE, CONFIG_FILE, CARD_FILE, *records])
    card.existing(folder / CARD_FILE)
    lost = [name for name in RECORDS if not kept and name not in records and is_own(folder / name)]
    if lost:
        raise InputError(
            f"{folder} holds {' and '.join(lost)} of the vectors there, which would be replaced.",
            "Name another folder with --output, or move what is there.",
        )


def require_vectors(model: str, vectors: str | None) -> None:
    """Check that vectors are named, or come with emosteer for this model.

    Raises:
        InputError: They are not.
    """
    if vectors is None and model not in SETS:
        raise InputError(
            f"Which vectors for {model}?",
            f"Name them with --vectors, or build them: emosteer extract --model {model} --output my-vectors",
        )


def steered_model(model: str, vectors: str | None) -> SteeredModel:
    """Load a model with its vectors, by default those that come with emosteer for it.

    Raises:
        InputError: The model has no vectors, or cannot be loaded.
        FormatError: The vectors are damaged.
    """
    from emosteer.model import SteeredModel
    from emosteer.models.loading import load_model

    require_vectors(model, vectors)
    folder = shipped_folder(SETS[model]) if vectors is None else vectors
    loaded = emosteer.EmotionVectors.from_pretrained(folder)  # before minutes of loading a model
    with loading(model):
        parts = load_model(model)
    return SteeredModel(*parts, loaded)


def steered_or_extracted(model: str, vectors: str | None, languages: Sequence[str]) -> SteeredModel:
    """Load a model as `steered_model` does, but extract vectors in these languages if the model has none."""
    from emosteer.model import SteeredModel
    from emosteer.models.loading import load_model

    if vectors is not None or model in SETS:
        return steered_model(model, vectors)
    concepts = emosteer.ConceptSet.load(",".join(dict.fromkeys(languages)))
    with loading(model):
        parts = load_model(model)
    return SteeredModel(*parts, emosteer.extract(*parts, concepts))
