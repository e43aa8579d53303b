"""The third tab: other models and vectors, from the Hub, from a file or built here."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from emosteer import EmotionVectors
from emosteer._util.layout import VECTORS_FILE
from emosteer.concepts import ConceptSet
from emosteer.demo.asking import (
    LARGE,
    AskFirst,
    checked_concepts,
    checked_name,
    checked_size,
    gigabytes,
    languages,
    read_upload,
)
from emosteer.demo.events import SWIFT, with_errors
from emosteer.demo.pairs import Pair, display_name
from emosteer.demo.studio import Studio
from emosteer.demo.work import Step
from emosteer.errors import EmosteerError
from emosteer.hub.weights import weight_bytes

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
        size_of: Function from Hub id to bytes, or None if they are unknown.
    """

    def __init__(self, studio: Studio, size_of: Callable[[str], int | None]) -> None:
        self._studio = studio
        self._size_of = size_of

    def load(self, pair: Pair, model: str, repository: str, file: str | None, anyway: bool) -> Iterator[Updates]:
        """Load a model with vectors from the Hub or from a file."""
        try:
            vectors = None
            if file:
                vectors, digest = read_upload(file)
                new = Pair(self._model(pair, model), Path(file).name, digest)
            else:
                new = Pair(self._model(pair, model), checked_name(repository, "vectors"))
            yield from self._steps(new, vectors, anyway)
        except EmosteerError as error:
            yield refused(error)

    def build(self, pair: Pair, model: str, language: str, emotions: Sequence[str], anyway: bool) -> Iterator[Updates]:
        """Build vectors from a concept set, and use them. The last output is the pair being built, for `stop`."""
        try:
            concepts = checked_concepts(language, emotions)
            new = Pair(self._model(pair, model), VECTORS_FILE, concepts=concepts)
            for update in self._steps(new, None, anyway):
                yield *update, None if update[0] == new else new
        except EmosteerError as error:
            yield *refused(error), None

    def stop(self, building: Pair | None) -> None:
        """Stop building. `build` then reports that it was stopped."""
        if building is not None:
            self._studio.stop(building)

    def file(self, pair: Pair) -> Iterator[Any]:
        """Offer the vectors in use as a file."""
        vectors = self._studio.get(pair).vectors
        with tempfile.TemporaryDirectory() as folder:  # gradio copies the file
            vectors.save_pretrained(folder)
            yield gr.update(value=str(Path(folder, VECTORS_FILE)), visible=True)

    def _model(self, pair: Pair, text: str) -> str:
        return checked_name(text, "model") if (text or "").strip() else pair.model

    def _steps(self, new: Pair, vectors: EmotionVectors | None, anyway: bool) -> Iterator[Updates]:
        if not self._studio.has(new.model):
            yield shown(Step(f"Asking how large {new.model} is"))
            size = checked_size(new.model, self._size_of, anyway)
            yield shown(Step(f"{new.model}: {size}"))
        for step in self._studio.load(new, vectors):
            yield shown(step)
        yield new, "<p role='status'>It is in use now.</p>", gr.update(value=False, visible=False)


def shown(step: Step) -> Updates:
    """Return the updates for a step: a line with a progress bar."""
    share = "" if step.share is None else f" max='1' value='{step.share:.3f}'"
    words = html.escape(step.words)
    return (
        gr.skip(),
        f"<p role='status' class='em-waiting'>{words} … <progress aria-label='{words}'{share}></progress></p>",
        gr.skip(),
    )


def refused(error: EmosteerError) -> Updates:
    """Return the updates for an error, with the box to tick where that helps."""
    line = f"<p role='alert' class='em-failed'>{html.escape(str(error))}</p>"
    return gr.skip(), line, gr.update(visible=True) if isinstance(error, AskFirst) else gr.skip()


def in_use(pair: Pair) -> str:
    """Return the HTML of the line that names the model and vectors in use."""
    if pair.concepts is not None:
        vectors = f"vectors that were built here from the {pair.concepts.language} concept set"
    else:
        vectors = "its own vectors" if pair.vectors is None else f"the vectors {pair.vectors}"
    return f"<p><b>In use:</b> {html.escape(display_name(pair.model))}, with {html.escape(vectors)}.</p>"


def bring(studio: Studio, pair: gr.State) -> None:
    """Lay the tab out and wire it.

    Args:
        studio: The models.
        pair: The pair that the visitor uses. It is changed here.
    """
    handlers = Bring(studio, weight_bytes)
    gr.Markdown(EXPLAINED)
    used = gr.HTML(in_use(studio.first), elem_id="in-use")
    back = gr.Button(f"Back to {display_name(studio.first.model)}", size="sm", visible=False, elem_id="back")
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
        as_file = gr.Button("The vectors in use as a file", size="sm", elem_id="as-file")
        download = gr.File(label=VECTORS_FILE, interactive=False, visible=False, elem_id="made-file")
    code = gr.Code(
        studio.first.code(), language="python", label="The same in Python", interactive=False, wrap_lines=True
    )

    outputs: dict[str, Any] = {
        "outputs": [pair, status, anyway], "show_progress": "hidden", "api_visibility": "private"
    }  # fmt: skip
    # In a queue of their own, so that talking goes on meanwhile.
    load.click(
        handlers.load, [pair, model, repository, file, anyway], concurrency_id="load", concurrency_limit=4, **outputs
    )
    building = gr.State(None)
    build.click(
        handlers.build,
        [pair, model, language, emotions, anyway],
        concurrency_id="build",
        concurrency_limit=4,
        **{**outputs, "outputs": [*outputs["outputs"], building]},
    )
    # Not by gradio's `cancels`, after which a last step or an error may still arrive.
    stop.click(handlers.stop, building, None, **SWIFT)
    language.input(
        lambda code: gr.update(choices=list(ConceptSet.load(code).emotions), value=[]), language, emotions, **SWIFT
    )
    # Through the queue, as only then the page hears that the pair is another.
    back.click(lambda: (studio.first, ""), None, [pair, status], concurrency_limit=None, **{**SWIFT, "queue": True})
    as_file.click(
        with_errors(handlers.file),
        pair,
        download,
        concurrency_id="files",
        show_progress="hidden",
        api_visibility="private",
    )
    pair.change(
        lambda now: (in_use(now), gr.update(visible=now != studio.first), now.code(), gr.update(visible=False)),
        pair,
        [used, back, code, download],
        **SWIFT,
    )
