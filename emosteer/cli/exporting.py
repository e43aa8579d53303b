"""Commands that take a tone out of emosteer: export gguf, export endpoint, export baked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

import emosteer
from emosteer.cli import printing
from emosteer.cli.options import JsonOption, ModelOption, VectorsArgument, numbers_of, strength_of
from emosteer.cli.printing import print_json, printable, span
from emosteer.errors import InputError
from emosteer.steering import Affect, Tone

FolderOption = Annotated[Path, typer.Option("--output", "-o", help="A new folder.", show_default=False)]
EmotionOption = Annotated[
    list[str] | None, typer.Option("--emotion", "-e", help="EMOTION or EMOTION=STRENGTH; may be given many times.")
]
ValenceOption = Annotated[
    float | None, typer.Option(min=-1, max=1, help="Instead of emotions: unpleasant −1 to pleasant 1.")
]
ArousalOption = Annotated[
    float | None, typer.Option(min=-1, max=1, help="Instead of emotions: still −1 to stirred up 1.")
]
LayersOption = Annotated[str | None, typer.Option(help="Steer after these layers, as 10-19 or 8,12,16.")]


def export_gguf(
    vectors: VectorsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)],
    emotion: EmotionOption = None,
    valence: ValenceOption = None,
    arousal: ArousalOption = None,
    layers: LayersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a tone as a control vector for llama.cpp: `llama-server -m MODEL --control-vector FILE`.

    llama.cpp adds it at every token of prompt and answer, also at the first one, the attention sink, which emosteer
    leaves out; a tone that changes along the answer cannot be written. --control-vector-scaled FILE:S multiplies it.
    """
    from emosteer.export import write_gguf

    tone = _tone(emotion, valence, arousal)
    loaded = emosteer.EmotionVectors.from_pretrained(vectors)
    steered = write_gguf(loaded, tone, output, layers=numbers_of(layers) if layers else None)
    if as_json:
        print_json({"output": str(output), "layers": list(steered), "tone": _named(loaded, tone)})
        return
    _say(f"Layers {span(steered)}: {output}")


def export_endpoint(
    vectors: VectorsArgument,
    output: FolderOption,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A Hub id, or a folder to copy; by default the vectors' own Hub model."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a folder for Inference Endpoints, where every request has a tone of its own."""
    from emosteer.export import write_endpoint

    repo_id = write_endpoint(vectors, output, model=model)
    if as_json:
        print_json({"output": str(output), "model": repo_id})
        return
    _say(f"The model {f'is loaded from the Hub ({repo_id})' if repo_id else 'is in the folder'}: {output}")


def export_baked(
    vectors: VectorsArgument,
    output: FolderOption,
    emotion: EmotionOption = None,
    valence: ValenceOption = None,
    arousal: ArousalOption = None,
    layers: LayersOption = None,
    model: ModelOption = "embedded",
    as_json: JsonOption = False,
) -> None:
    """Write a plain model that always speaks in a tone, which transformers reads without emosteer.

    Only for architectures whose blocks have a bias to hold it, or whose config can give them one.
    """
    from emosteer._util.atomic import require_new
    from emosteer.export import save_baked
    from emosteer.models.loading import load_model

    tone = _tone(emotion, valence, arousal)
    loaded = emosteer.EmotionVectors.from_pretrained(vectors)
    require_new(output)  # known now rather than after minutes of loading
    with printing.err.status("Loading the model …"):
        parts = load_model(model)
    baked = save_baked(*parts, loaded, tone, output, layers=numbers_of(layers) if layers else None)
    steered = baked.config.emosteer_baked[-1]["layers"]
    if as_json:
        print_json({"output": str(output), "layers": steered, "tone": _named(loaded, tone)})
        return
    _say(f"Layers {span(steered)}: {output}")


def _tone(emotion: list[str] | None, valence: float | None, arousal: float | None) -> Tone | Affect:
    """What was asked for, which must be something."""
    tone = dict(strength_of(item) for item in emotion or ())
    point = None if valence is None and arousal is None else Affect(valence or 0.0, arousal or 0.0)
    if bool(tone) == bool(point):
        raise InputError("A tone is either emotions or valence and arousal.", "For example: -e joy=0.8 -e calm")
    return point or tone


def _named(vectors: emosteer.EmotionVectors, tone: Tone | Affect) -> dict[str, float]:
    from emosteer.steering.tones import named

    return dict(named(vectors, tone))


def _say(line: str) -> None:
    printing.out.print(Text(printable(line)), soft_wrap=True)
