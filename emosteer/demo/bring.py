"""A tab: other models and vectors, from the Hub, from a file or built here."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from emosteer._util.layout import VECTORS_FILE
from emosteer.concepts import ConceptSet
from emosteer.demo.asking import LARGE, AskFirst, brought, concepts_named, gigabytes, languages, named, weighed
from emosteer.demo.pairs import Pair, called
from emosteer.demo.studio import Studio
from emosteer.demo.told import SWIFT, told
from emosteer.demo.work import Step
from emosteer.errors import EmosteerError
from emosteer.models.loading import size_of

ANYWAY = f"Load it anyway (over {gigabytes(LARGE)}, or of unknown size)"
EXPLAINED = """\
**Another model, other vectors.** Everything on this page then speaks with them, for you alone. What is loaded is shared
with others who ask for the same, and put away when too many want something else.
"""

__all__ = ["Bring", "bring"]

Updates = tuple[Any, ...]


class Bring:
    """Loads and builds what visitors ask for.

    Args:
        studio: The models.
        size_of: Hub id → bytes, or None where that is not known.
    """

    def __init__(self, studio: Studio, size_of: Callable[[str], int | None]) -> None:
        self._studio = studio
        self._size_of = size_of

    def load(self, pair: Pair, model: str, repository: str, file: str | None, anyway: bool) -> Iterator[Updates]:
        """Load a model with vectors of the Hub or of a file."""
        try:
            given = None
            if file:
                vectors, digest = brought(file)
                given, wanted = vectors, Pair(self._model(pair, model), Path(file).name, digest)
            else:
                wanted = Pair(self._model(pair, model), named(repository, "vectors"))
            yield from self._steps(wanted, given, anyway)
        except EmosteerError as error:
            yield refused(error)

    def build(self, pair: Pair, model: str, language: str, emotions: Sequence[str], anyway: bool) -> Iterator[Updates]:
        """Build vectors from a concept set, and use them. What is being built is told last, for `stop`."""
        try:
            concepts = concepts_named(language, emotions)
            wanted = Pair(self._model(pair, model), VECTORS_FILE, concepts=concepts)
            for update in self._steps(wanted, None, anyway):
                yield *update, None if update[0] == wanted else wanted
        except EmosteerError as error:
            yield *refused(error), None

    def stop(self, building: Pair | None) -> None:
        """Stop building; whoever waits for it is told by `build`."""
        if building is not None:
            self._studio.stop(building)

    def file(self, pair: Pair) -> Iterator[Any]:
        """The vectors in use as a file."""
        vectors = self._studio.get(pair).vectors
        with tempfile.TemporaryDirectory() as folder:  # gradio copies what it is given
            vectors.save_pretrained(folder)
            yield gr.update(value=str(Path(folder, VECTORS_FILE)), visible=True)

    def _model(self, pair: Pair, text: str) -> str:
        return named(text, "model") if (text or "").strip() else pair.model

    def _steps(self, wanted: Pair, given: Any, anyway: bool) -> Iterator[Updates]:
        if not self._studio.has(wanted.model):
            yield shown(Step(f"Asking how large {wanted.model} is"))
            size = weighed(wanted.model, self._size_of, anyway)
            yield shown(Step(f"{wanted.model}: {size}"))
        for step in self._studio.load(wanted, given):
            yield shown(step)
        yield wanted, "<p role='status'>It is in use now.</p>", gr.update(value=False, visible=False)


def shown(step: Step) -> Updates:
    """How far it is: the pair stays, a line with a bar, the box stays."""
    share = "" if step.share is None else f" max='1' value='{step.share:.3f}'"
    words = html.escape(step.words)
    return (
        gr.skip(),
        f"<p role='status' class='em-waiting'>{words} … <progress aria-label='{words}'{share}></progress></p>",
        gr.skip(),
    )


def refused(error: EmosteerError) -> Updates:
    """Why not; and the box to tick, where that helps."""
    line = f"<p role='alert' class='em-failed'>{html.escape(str(error))}</p>"
    return gr.skip(), line, gr.update(visible=True) if isinstance(error, AskFirst) else gr.skip()


def in_use(pair: Pair) -> str:
    """A line that says what the page speaks with."""
    if pair.concepts is not None:
        vectors = f"vectors that were built here from the {pair.concepts.language} concept set"
    else:
        vectors = "its own vectors" if pair.vectors is None else f"the vectors {pair.vectors}"
    return f"<p><b>In use:</b> {html.escape(called(pair.model))}, with {html.escape(vectors)}.</p>"


def bring(studio: Studio, pair: gr.State) -> None:
    """Lay the tab out and wire it.

    Args:
        studio: The models.
        pair: Which of them a visitor uses; changed here.
    """
    made = Bring(studio, size_of)
    gr.Markdown(EXPLAINED)
    used = gr.HTML(in_use(studio.first), elem_id="in-use")
    back = gr.Button(f"Back to {called(studio.first.model)}", size="sm", visible=False, elem_id="back")
    model = gr.Textbox(
        label="Model",
        placeholder="HuggingFaceTB/SmolLM2-135M-Instruct",
        info="Its name on the Hub. Empty: the model in use. Weights are taken as safetensors only.",
        max_length=200,
        elem_id="model",
    )
    with gr.Tabs(overflow_behavior="wrap"):
        with gr.Tab("Vectors that there are"):
            repository = gr.Textbox(
                label="Vectors on the Hub", placeholder="user/name", max_length=200, elem_id="repository"
            )
            file = gr.File(
                label="or a file (then the name above is not used)",
                file_types=[".safetensors"],
                elem_id="vector-file",
                height=120,
            )
            load = gr.Button("Load", variant="primary", elem_id="load")
        with gr.Tab("Build vectors"):
            language = gr.Dropdown(languages(), value="en", label="Texts in", elem_id="language")
            emotions = gr.Dropdown(
                list(ConceptSet.load("en").emotions),
                value=[],
                multiselect=True,
                label="Emotions",
                info="None named: all of them.",
                elem_id="emotions",
            )
            with gr.Row():
                build = gr.Button("Build", variant="primary", elem_id="build")
                stop = gr.Button("Stop", elem_id="stop-building")
    anyway = gr.Checkbox(False, label=ANYWAY, visible=False, elem_id="anyway")
    status = gr.HTML("", elem_id="bring-status")
    with gr.Row():
        wanted = gr.Button("The vectors in use as a file", size="sm", elem_id="as-file")
        given = gr.File(label=VECTORS_FILE, interactive=False, visible=False, elem_id="made-file")
    code = gr.Code(
        studio.first.code(), language="python", label="The same in Python", interactive=False, wrap_lines=True
    )

    outputs: dict[str, Any] = {
        "outputs": [pair, status, anyway], "show_progress": "hidden", "api_visibility": "private"
    }  # fmt: skip
    # Beside the queue of the models: talking goes on meanwhile.
    load.click(
        made.load, [pair, model, repository, file, anyway], concurrency_id="load", concurrency_limit=4, **outputs
    )
    building = gr.State(None)
    build.click(
        made.build,
        [pair, model, language, emotions, anyway],
        concurrency_id="build",
        concurrency_limit=4,
        **{**outputs, "outputs": [*outputs["outputs"], building]},
    )
    # Not by gradio's cancelling, after which a last step may still arrive, or an error.
    stop.click(made.stop, building, None, **SWIFT)
    language.input(
        lambda code: gr.update(choices=list(ConceptSet.load(code).emotions), value=[]), language, emotions, **SWIFT
    )
    # Through the queue, as only then the page hears that the pair is another.
    back.click(lambda: (studio.first, ""), None, [pair, status], concurrency_limit=None, **{**SWIFT, "queue": True})
    wanted.click(told(made.file), pair, given, concurrency_id="files", show_progress="hidden", api_visibility="private")
    pair.change(
        lambda now: (in_use(now), gr.update(visible=now != studio.first), now.code(), gr.update(visible=False)),
        pair,
        [used, back, code, given],
        **SWIFT,
    )
