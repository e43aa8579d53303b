"""The commands that take a tone out of emosteer: export gguf, export endpoint, export baked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import emosteer
from emosteer.cli.loading import loading
from emosteer.cli.options import (
    ArousalOption,
    EmotionsOption,
    JsonOption,
    ModelOption,
    SteeredLayersOption,
    ValenceOption,
    VectorsArgument,
    parse_layers,
    parse_tone,
)
from emosteer.cli.printing import print_json, say, span
from emosteer.errors import InputError
from emosteer.steering import Affect, Tone

FolderOption = Annotated[Path, typer.Option("--output", "-o", help="A new folder.", show_default=False)]

app = typer.Typer(no_args_is_help=True, help="Take a tone out of emosteer: to llama.cpp, an endpoint, a plain model.")

__all__ = ["app"]


@app.command("gguf")
def export_gguf(
    vectors: VectorsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)],
    emotion: EmotionsOption = None,
    valence: ValenceOption = None,
    arousal: ArousalOption = None,
    layers: SteeredLayersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a tone as a control vector for llama.cpp: `llama-server -m MODEL --control-vector FILE`.

    llama.cpp adds it at every token of prompt and answer, also at the first one, the attention sink, which emosteer
    leaves out; a tone that changes along the answer cannot be written. --control-vector-scaled FILE:S multiplies it.
    """
    from emosteer.export import write_gguf

    tone = _tone(emotion, valence, arousal)
    loaded = emosteer.EmotionVectors.from_pretrained(vectors)
    steered = write_gguf(loaded, tone, output, layers=parse_layers(layers))
    if as_json:
        print_json({"output": str(output), "layers": list(steered), "tone": _strengths(loaded, tone)})
        return
    say(f"Layers {span(steered)}: {output}")


@app.command("endpoint")
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
    say(f"The model {f'is loaded from the Hub ({repo_id})' if repo_id else 'is in the folder'}: {output}")


@app.command("baked")
def export_baked(
    vectors: VectorsArgument,
    output: FolderOption,
    emotion: EmotionsOption = None,
    valence: ValenceOption = None,
    arousal: ArousalOption = None,
    layers: SteeredLayersOption = None,
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
    require_new(output)  # before minutes of loading
    with loading(model):
        parts = load_model(model)
    baked = save_baked(*parts, loaded, tone, output, layers=parse_layers(layers))
    steered = baked.config.emosteer_baked[-1]["layers"]
    if as_json:
        print_json({"output": str(output), "layers": steered, "tone": _strengths(loaded, tone)})
        return
    say(f"Layers {span(steered)}: {output}")


def _tone(emotions: list[str] | None, valence: float | None, arousal: float | None) -> Tone | Affect:
    tone = parse_tone(emotions, valence, arousal)
    if not tone:
        raise InputError("A tone is either emotions or valence and arousal.", "For example: -e joy=0.8 -e calm")
    return tone


def _strengths(vectors: emosteer.EmotionVectors, tone: Tone | Affect) -> dict[str, float]:
    from emosteer.steering.tones import named

    return dict(named(vectors, tone))
