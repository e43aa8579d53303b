"""The command quickstart: one question, answered plainly and in several tones, with what each tone cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.columns import Columns
from rich.panel import Panel
from rich.syntax import Syntax
from rich.text import Text

import emosteer
from emosteer.cli import printing
from emosteer.cli.loading import loading
from emosteer.cli.options import JsonOption, ModelOption, SeedOption, TokensOption, text_of
from emosteer.cli.printing import print_json, printable, shown
from emosteer.embedded import MODEL_ID
from emosteer.models.loading import EMBEDDED
from emosteer.vectors.shipped import SETS, shipped_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.model import SteeredModel

QUESTION = "What does the moon look like tonight?"
TONES = ("joy", "sadness", "anger", "fear", "calm")
SIDE_BY_SIDE = 110
"""Columns of terminal from which answers stand beside each other."""

SAMPLING: dict[str, Any] = {"do_sample": True, "temperature": 0.7, "top_p": 0.9}
"""Careful enough for a small model to stay on topic; chosen, like the question, on development prompts."""

__all__ = ["QUESTION", "SAMPLING", "TONES", "Answer", "answers", "quickstart"]


@dataclass(frozen=True)
class Answer:
    """One answer and its cost.

    Args:
        emotion: Its tone, or None for the plain model.
        strength: In calibrated doses.
        text: The answer.
        nats_per_token: Mean negative log-likelihood of a token under the plain model.
        cost: The same minus that of the plain answer.
    """

    emotion: str | None
    strength: float
    text: str
    nats_per_token: float
    cost: float


def quickstart(
    question: Annotated[str | None, typer.Argument(help="What to ask.", callback=text_of, show_default=False)] = None,
    model: ModelOption = EMBEDDED,
    strength: Annotated[float, typer.Option(help="Of each tone, in calibrated doses.")] = 1.0,
    build: Annotated[bool, typer.Option("--build", help="Build the vectors anew instead of loading them.")] = False,
    seed: SeedOption = 0,
    max_new_tokens: TokensOption = 40,
    as_json: JsonOption = False,
) -> None:
    """Ask the small embedded model one question and read its answer plainly and in five tones.

    With --model, a larger one answers, such as Qwen/Qwen2.5-Coder-1.5B-Instruct, whose vectors come with emosteer.
    Those of any other are built the first time, and kept in emosteer's cache.
    """
    from emosteer.model import SteeredModel
    from emosteer.models.loading import load_model
    from emosteer.vectors.emotion_vectors import EmotionVectors

    folder = shipped_folder(SETS[model]) if model in SETS and not build else None
    with loading(model):
        parts = load_model(model)
    if folder is None:
        folder = _built(*parts, anew=build)
    vectors = EmotionVectors.from_pretrained(folder)
    steered = SteeredModel(*parts, vectors)
    asked = QUESTION if question is None else question
    options: dict[str, Any] = {"strength": strength, "seed": seed, "max_new_tokens": max_new_tokens}
    example = _python_example(model, shown(folder))
    results: list[Answer] = []
    with printing.err.status("Answering …") as status:
        for answer in answers(steered, asked, **options):
            results.append(answer)
            status.update(f"Answering … {len(results)} of {len(TONES) + 1}")
    if as_json:
        print_json(
            {
                "model": MODEL_ID if model == EMBEDDED else model,
                "question": asked,
                **options,
                "answers": [asdict(answer) for answer in results],
                "python": example,
            }
        )
        return
    printing.out.print(Text.assemble(("Asked: ", "bold"), asked))
    panels = [_panel(answer) for answer in results]
    if printing.out.width >= SIDE_BY_SIDE:
        printing.out.print(Columns(panels, width=printing.out.width // 3 - 1, equal=True))
    else:
        printing.out.print(*panels, sep="\n")
    printing.out.print(
        "Cost: how much more surprising the answer is to the plain model, in nats a token (one answer each)."
    )
    printing.out.print("\nThe same in Python:")
    printing.out.print(Syntax(example, "python", background_color="default", word_wrap=True))


def answers(
    steered: SteeredModel,
    question: str = QUESTION,
    tones: Sequence[str] = TONES,
    *,
    strength: float = 1.0,
    seed: int = 0,
    max_new_tokens: int = 40,
) -> Iterator[Answer]:
    """Answer a question plainly, then in each tone.

    Args:
        steered: The model.
        question: What is asked.
        tones: Emotions, in the order in which they are answered in.
        strength: Strength of each tone, in calibrated doses.
        seed: Seed of the sampling. It is the same for every answer, so that only the tone differs.
        max_new_tokens: Longest answer.

    Yields:
        The answers, the plain one first.

    Raises:
        ToneError: An emotion or the strength cannot be used.
        InputError: The question cannot be used.
    """
    from emosteer.eval.fluency import nats_per_token

    plain = 0.0
    for emotion in (None, *tones):
        text = steered.chat(
            question,
            emotion=None if emotion is None else {emotion: strength},
            seed=seed,
            max_new_tokens=max_new_tokens,
            **SAMPLING,
        )
        nats = nats_per_token(steered, question, text)
        plain = nats if emotion is None else plain
        yield Answer(emotion, 0.0 if emotion is None else strength, text.strip().rstrip("\ufffd"), nats, nats - plain)


def _built(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, anew: bool) -> Path:
    """Return the folder of the cache with vectors of a model, extracted now if they are not there."""
    from emosteer.embedded import cache_dir
    from emosteer.eval.cache import model_digest
    from emosteer.models.fingerprint import base_model_of

    concepts, base, digest = emosteer.ConceptSet.load("en"), base_model_of(model), model_digest(model, tokenizer)
    name = (base.repo_id or base.model_type).replace("/", "--")
    made_from = f"{version('emosteer')}-{concepts.digest[:12]}-{(digest or 'unknown')[:12]}"
    folder = cache_dir() / "vectors" / f"{name}-{made_from}"
    if anew or digest is None or not folder.is_dir():
        emosteer.extract(model, tokenizer, concepts).save_pretrained(folder)
    return folder


def _panel(answer: Answer) -> Panel:
    """Frame an answer, with its cost below it."""
    title = answer.emotion or "plain"
    note = f"{answer.cost:+.2f} nats" if answer.emotion else f"{answer.nats_per_token:.2f} nats a token"
    return Panel(Text(printable(answer.text)), title=title, subtitle=note, title_align="left", subtitle_align="right")


def _python_example(model: str, vectors: str) -> str:
    """Return Python code that does the same."""
    return (
        "import emosteer\n"
        f'steered = emosteer.SteeredModel.from_pretrained("{model}", vectors="{vectors}")\n'
        f'options = {{"do_sample": True, "temperature": 0.7, "top_p": 0.9}}\n'
        f'print(steered.chat("{QUESTION}", emotion={{"joy": 1.0}}, **options))'
    )
