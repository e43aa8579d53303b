"""What commands share: options, how their text is read, and the loading of a model with its vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import emosteer
from emosteer.cli import printing
from emosteer.errors import InputError

if TYPE_CHECKING:
    from emosteer.model import SteeredModel
    from emosteer.vectors.emotion_vectors import EmotionVectors

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="'embedded', a Hub id, a folder or a .gguf file.", show_default=True)
]
VectorsOption = Annotated[
    str | None, typer.Option("--vectors", "-v", help="Folder or .safetensors file of vectors, or user/name on the Hub.")
]
VectorsArgument = Annotated[
    str, typer.Argument(help="Folder or .safetensors file of vectors, or user/name on the Hub.", show_default=False)
]
RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.", show_default=False)]
SubfolderOption = Annotated[str | None, typer.Option(help="Of the repository, if it holds several sets.")]
LimitOption = Annotated[int, typer.Option(min=1, help="Most to list.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
SeedOption = Annotated[int, typer.Option(help="For sampling; the same seed gives the same answer.")]
TokensOption = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer.")]
AnswersOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder of finished answers; emosteer's own by default.")
]


def strength_of(text: str) -> tuple[str, float]:
    """`joy=0.8`, or `joy` for 1.0."""
    name, given, number = text.partition("=")
    try:
        return name.strip(), float(number) if given else 1.0
    except ValueError:
        raise InputError(f"{text!r} is not EMOTION=STRENGTH.", "For example: --emotion joy=0.8") from None


def doses_of(text: str) -> tuple[float, ...]:
    """`0.25,0.5,1`."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{text!r} does not name strengths.", "For example: 0.25,0.5,1") from None


def numbers_of(text: str) -> tuple[int, ...]:
    """`10-19` or `8,12,16` or both."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            found.extend(range(int(first), int(last if dash else first) + 1))
        except ValueError:
            raise InputError(f"{text!r} does not name layers.", "For example: 10-19, or 8,12,16") from None
    return tuple(found)


def require_folder(folder: Path) -> None:
    """See that vectors can be written there, and the card that is there edited, before minutes of work.

    Raises:
        InputError: They cannot.
    """
    from emosteer._util.atomic import require_writable
    from emosteer._util.layout import CARD_FILE
    from emosteer.vectors import card

    require_writable(folder)
    card.existing(folder / CARD_FILE)


def steered_model(model: str, vectors: str | None) -> SteeredModel:
    """The model with vectors; the embedded one has some of its own."""
    from emosteer.cli.quickstart import embedded_vectors
    from emosteer.model import SteeredModel
    from emosteer.models.loading import EMBEDDED, load_model

    loaded: EmotionVectors | None = None
    if vectors is not None:
        loaded = emosteer.EmotionVectors.from_pretrained(vectors)  # before minutes of loading a model
    elif model != EMBEDDED:
        raise InputError(
            f"Which vectors for {model}?", f"Name them with --vectors, or build them: emosteer extract --model {model}"
        )
    with printing.err.status(f"Loading {model} …"):
        parts = load_model(model)
    return SteeredModel(*parts, loaded or embedded_vectors(*parts)[0])


def steered_or_extracted(model: str, vectors: str | None, languages: Sequence[str]) -> SteeredModel:
    """As `steered_model`; a model without vectors gets some, from the concept sets of the languages."""
    from emosteer.model import SteeredModel
    from emosteer.models.loading import EMBEDDED, load_model

    if vectors is not None or model == EMBEDDED:
        return steered_model(model, vectors)
    concepts = emosteer.ConceptSet.load(",".join(dict.fromkeys(languages)))
    with printing.err.status(f"Loading {model} …"):
        parts = load_model(model)
    return SteeredModel(*parts, emosteer.extract(*parts, concepts))
