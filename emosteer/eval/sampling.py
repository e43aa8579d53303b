"""Answers in many tones, sampled in batches that mix the tones, and cached on disk.

A cell is one experimental condition: an emotion at a strength by a way of steering, or a control. A batch holds rows of
many cells. Since a sampled row depends on its batch, batches are determined by the cells and prompts alone, and each
has its own seed. A finished batch is one file of the cache, named by a digest of everything it depends on, so that an
interrupted measurement can resume.

Temperature and length are the measurement's. For everything else, such as `top_p`, the model's own generation config
holds, and what a way of steering sets.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from emosteer._util.atomic import write_folder
from emosteer._util.progress import Meter, counted
from emosteer.errors import InputError, warn
from emosteer.eval.cache import described, digest_of, model_digest, own_decoding, vectors_digest
from emosteer.eval.encoding import Encoder
from emosteer.eval.fluency import nats_of_tokens
from emosteer.eval.language import ENGLISH
from emosteer.eval.prompts import Prompt
from emosteer.layers import input_device
from emosteer.models.side_pass import side_pass
from emosteer.steering.recipes import RECIPES, Recipe
from emosteer.vectors.emotion_vectors import EmotionVectors

if TYPE_CHECKING:
    from emosteer.model import SteeredModel

ROWS = 96
"""Answers per batch."""

Control = Literal["unsteered", "random", "shuffled", "flipped", "prompt_only"]
Ways = Mapping[str, Mapping[str, Any]]
"""Name of a way of steering → options for `SteeredModel.generate`."""

KEPT = ("text", "ended", "nats", "nats_asked")
"""What the cache keeps of an answer besides its tokens."""

ONE = {"num_return_sequences": 1, "return_dict_in_generate": False}
"""Each row has one answer, whatever the model's generation config says."""

OURS = ("do_sample", "temperature", "max_new_tokens", "max_length", *ONE, "emotion", "seed", "streamer")
"""Options that no way of steering can set."""

__all__ = [
    "ROWS",
    "Answer",
    "Cell",
    "Control",
    "Ways",
    "adds",
    "asks",
    "decoding",
    "deranged",
    "generate_cells",
    "without_asking",
]


@dataclass(frozen=True)
class Cell:
    """One experimental condition.

    Args:
        emotion: The tone that is asked for, or None.
        strength: Strength in calibrated doses.
        way: Name of the way of steering; empty where nothing is steered.
        control: None for the tone itself; `"unsteered"`; `"random"` for a random direction of equal norm; `"shuffled"`
            for the direction of another emotion; `"flipped"` for the negative strength; `"prompt_only"` for an
            instruction in the system message instead of steering.
    """

    emotion: str | None
    strength: float
    way: str = ""
    control: Control | None = None


@dataclass(frozen=True)
class Answer:
    """One sampled answer.

    Args:
        cell: Its condition.
        prompt: The prompt, as it was given.
        seed: Index among the answers to this prompt in this cell.
        tokens: Generated token ids, up to the end of the sequence.
        text: The same as text.
        ended: Whether it ended before the limit.
        nats: Nats per token under the plain model; None if it is empty, or if answers are not scored.
        nats_asked: Nats per token under the plain model that is asked for the tone; None if it is empty, if there is no
            tone, or if no way of steering asks.
    """

    cell: Cell
    prompt: str | Prompt
    seed: int
    tokens: tuple[int, ...]
    text: str
    ended: bool
    nats: float | None
    nats_asked: float | None = None


@dataclass(frozen=True)
class _Row:
    cell: Cell
    prompt: str | Prompt
    seed: int
    tone: dict[str, float] | None
    tokens: tuple[int, ...]  # of the prompt, with what it says of the tone
    plain: tuple[int, ...]  # of the prompt alone, after which the cost is measured
    asked: tuple[int, ...] | None  # of the prompt with the request for the tone, after which it is measured again


def generate_cells(
    steered: SteeredModel,
    cells: Mapping[Cell, Sequence[tuple[str | Prompt, int]]],
    *,
    ways: Ways,
    max_new_tokens: int = 32,
    temperature: float = 0.8,
    seed: int = 0,
    language: str = ENGLISH,
    scored: bool = True,
    cache: Path | None = None,
    progress: bool | Meter = True,
) -> list[Answer]:
    """Sample the answers of cells, and score each under the plain model.

    Args:
        steered: The model.
        cells: Cell → prompts, each with a number that distinguishes answers to the same prompt. A text alone is what
            the user says.
        ways: Name → options for `SteeredModel.generate`. A recipe that asks for the tone asks in the prompt.
        max_new_tokens: Length of the longest answer, in tokens.
        temperature: Sampling temperature; 0 for the most probable answer.
        seed: Seed of sampling, random directions and shuffling.
        language: Language of the prompts, in which the control names an emotion.
        scored: Whether to say how surprising the answers are.
        cache: Folder that keeps finished batches. Those of a model whose weights lie elsewhere, such as on disk, are
            not kept, with a warning: it cannot be told from another.
        progress: Whether to show progress on standard error, as for `collect`; or the count that the answers are part
            of.

    Returns:
        One answer for each cell, prompt and number, in the order of the cells.

    Raises:
        InputError: A prompt cannot be used, a way of steering sets what is the same for all ways, the cache cannot be
            written, or an option has no repeatable description by which to name a file of the cache.
        ToneError: An emotion or an option of a way is unknown.
    """
    _check(ways)
    speakers = {False: steered}
    if any(cell.control == "random" for cell in cells):
        random = EmotionVectors.random_like(steered.vectors, seed=seed)
        speakers[True] = type(steered)(steered.model, steered.tokenizer, random)
    sampling: dict[str, Any] = {**_drawn(temperature), "max_new_tokens": max_new_tokens, **ONE}
    batches = _batches(_rows(steered, cells, ways, seed, language))
    about = _about(steered, sampling, seed) if cache else None
    by_key: dict[tuple[Cell, str | Prompt, int], Answer] = {}
    total = sum(map(len, batches))
    count: AbstractContextManager[Meter] = (
        nullcontext(progress)
        if isinstance(progress, Meter)
        else Meter(f"Answering {counted(total, 'prompt')}", total, progress)
    )
    with count as meter, side_pass(steered.model):  # no tone but that of the cells
        for batch in batches:
            first = batch[0].cell
            options = without_asking(ways[first.way]) if first.way else {}
            file = cache / f"{_digest(about, batch, options, scored)}.json" if cache and about else None
            answers = _load(file, batch) if file else None
            kept = answers is not None
            if answers is None:
                speaker = speakers[first.control == "random"]
                answers = _answer(speaker, batch, options, sampling, _draw(batch, seed), scored)
                if file:
                    _save(file, answers)
            by_key.update({(answer.cell, answer.prompt, answer.seed): answer for answer in answers})
            meter.advance(len(batch), kept=kept)
    return [by_key[cell, prompt, number] for cell, asked in cells.items() for prompt, number in asked]


def deranged(emotions: Sequence[str], seed: int = 0) -> dict[str, str]:
    """Assign to every emotion another one, each used once.

    Args:
        emotions: Two or more emotions.
        seed: Seed of the assignment.

    Raises:
        InputError: There is only one emotion.
    """
    if len(emotions) < 2:
        raise InputError("Shuffling labels needs two emotions or more.", "Leave the controls out.")
    order = np.random.default_rng(seed).permutation(len(emotions))
    # A single cycle through all of them maps none to itself.
    return {emotions[i]: emotions[j] for i, j in zip(order, np.roll(order, 1), strict=True)}


def decoding(steered: SteeredModel, *, max_new_tokens: int, temperature: float) -> dict[str, Any]:
    """Return how answers are decoded, for a report: the model's own settings, and those of the measurement."""
    ours = {**_drawn(temperature), "max_new_tokens": max_new_tokens}
    own = {name: value for name, value in own_decoding(steered.model).items() if name not in OURS}
    return {**own, **ours}


def _check(ways: Ways) -> None:
    for name, options in ways.items():
        if fixed := [option for option in OURS if option in options]:
            raise InputError(
                f"The way of steering {name!r} sets {fixed[0]}, which is the same for all of them.",
                "Give temperature=, max_new_tokens= and seed= to the measurement itself; leave the others out.",
            )


def _drawn(temperature: float) -> dict[str, Any]:
    return {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}


def _recipe(options: Mapping[str, Any]) -> Any:
    """Return the recipe of a way of steering, if it has one that is known."""
    recipe = options.get("recipe")
    return RECIPES.get(recipe, recipe) if isinstance(recipe, str) else recipe


def asks(options: Mapping[str, Any]) -> bool:
    """Return whether a way of steering asks for the tone in words."""
    recipe = _recipe(options)
    return isinstance(recipe, Recipe) and recipe.asks


def adds(options: Mapping[str, Any]) -> bool:
    """Return whether a way of steering adds directions."""
    recipe = _recipe(options)
    return not isinstance(recipe, Recipe) or recipe.dose != 0


def without_asking(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a way without its request for the tone, which the prompt has already."""
    return {**options, "recipe": replace(_recipe(options), asks=False)} if asks(options) else dict(options)


def _rows(
    steered: SteeredModel,
    cells: Mapping[Cell, Sequence[tuple[str | Prompt, int]]],
    ways: Ways,
    seed: int,
    language: str,
) -> Iterator[_Row]:
    others = deranged(steered.vectors.emotions, seed) if any(cell.control == "shuffled" for cell in cells) else {}
    encoder, measured = Encoder(steered, language), any(map(asks, ways.values()))
    for cell, prompts in cells.items():
        tone = _tone(cell, others)
        for prompt, number in prompts:
            tokens = plain = encoder.plain(prompt)
            asked = encoder.asked(prompt, tone) if tone and measured else None
            if cell.control == "prompt_only" and cell.emotion:
                tokens = encoder.instructed(prompt, cell.emotion)
            elif asked and asks(ways[cell.way]):
                tokens = asked
            yield _Row(cell, prompt, number, tone, tokens, plain, asked)


def _tone(cell: Cell, others: Mapping[str, str]) -> dict[str, float] | None:
    if cell.emotion is None or cell.control in ("unsteered", "prompt_only"):
        return None
    if cell.control == "shuffled":
        return {others[cell.emotion]: cell.strength}
    return {cell.emotion: -cell.strength if cell.control == "flipped" else cell.strength}


def _batches(rows: Iterator[_Row]) -> list[list[_Row]]:
    """Group rows that can go through `generate` together, of about equal length."""
    together: dict[tuple[str, bool], list[_Row]] = {}
    for row in rows:
        together.setdefault((row.cell.way, row.cell.control == "random"), []).append(row)
    batches = []
    for group in together.values():
        group.sort(key=lambda row: len(row.tokens))
        batches += [group[begin : begin + ROWS] for begin in range(0, len(group), ROWS)]
    return batches


def _answer(
    speaker: SteeredModel,
    batch: list[_Row],
    options: dict[str, Any],
    sampling: dict[str, Any],
    draw: int,
    scored: bool,
) -> list[Answer]:
    import torch

    tokenizer, length = speaker.tokenizer, max(len(row.tokens) for row in batch)
    device = input_device(speaker.model)
    padding = 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
    ids = torch.full((len(batch), length), padding, dtype=torch.long, device="cpu")
    mask = torch.zeros_like(ids)
    for i, row in enumerate(batch):
        ids[i, length - len(row.tokens) :] = torch.tensor(row.tokens, dtype=torch.long, device="cpu")
        mask[i, length - len(row.tokens) :] = 1
    inputs: dict[str, Any] = {"input_ids": ids.to(device), "attention_mask": mask.to(device), "pad_token_id": padding}
    tones = [row.tone for row in batch]
    emotion = tones if any(tones) else None
    output = speaker.generate(**inputs, emotion=emotion, seed=draw, **options, **sampling)[:, length:].tolist()
    config = options.get("generation_config") or speaker.model.generation_config
    stop = options.get("eos_token_id", config.eos_token_id if config else None)
    stops = {stop} if isinstance(stop, int) else set(stop or ())
    ends = [next((i for i, token in enumerate(tokens) if token in stops), None) for tokens in output]
    replies = [tokens[:end] for tokens, end in zip(output, ends, strict=True)]
    said = replies if scored else [[] for _ in replies]
    nats = nats_of_tokens(speaker, [row.plain for row in batch], said)
    again = [tokens if row.asked else [] for row, tokens in zip(batch, said, strict=True)]
    asked = nats_of_tokens(speaker, [row.asked or () for row in batch], again)
    texts = [str(tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in replies]
    return [
        Answer(row.cell, row.prompt, row.seed, tuple(tokens), text, end is not None, *map(_known, scores))
        for row, tokens, text, end, scores in zip(
            batch, replies, texts, ends, zip(nats, asked, strict=True), strict=True
        )
    ]


def _known(nats: float) -> float | None:
    return None if math.isnan(nats) else nats


def _described(row: _Row) -> list[Any]:
    prompt = asdict(row.prompt) if isinstance(row.prompt, Prompt) else row.prompt
    return [asdict(row.cell), prompt, row.seed, row.tokens, row.tone]


def _draw(batch: list[_Row], seed: int) -> int:
    digest = hashlib.sha256(json.dumps([seed, *map(_described, batch)]).encode()).digest()
    return int.from_bytes(digest[:6], "big")


def _about(steered: SteeredModel, sampling: dict[str, Any], seed: int) -> dict[str, Any] | None:
    """Describe what every answer depends on; None for a model that cannot be told from another."""
    model = model_digest(steered.model, steered.tokenizer)
    if model is None:
        warn("Answers are not kept: weights of this model lie elsewhere, so that it cannot be told from another.")
        return None
    return {
        "model": model,
        "vectors": vectors_digest(steered.vectors),
        "generation_config": own_decoding(steered.model),
        "sampling": sampling,
        "seed": seed,
    }


def _digest(about: dict[str, Any], batch: list[_Row], options: dict[str, Any], scored: bool) -> str:
    meant = {**options, "recipe": _recipe(options)} if "recipe" in options else options
    scored_after = [[row.plain, row.asked] for row in batch] if scored else []
    return digest_of([about, described(dict(sorted(meant.items()))), scored_after, *map(_described, batch)])[:32]


def _load(file: Path, batch: list[_Row]) -> list[Answer] | None:
    """Read the answers of a batch that was finished before, if there are any."""
    if not file.is_file():
        return None
    try:
        entries = json.loads(file.read_bytes())["answers"]  # our own file, longer than strict_json reads
        return [
            Answer(row.cell, row.prompt, row.seed, tuple(entry["tokens"]), *(entry[name] for name in KEPT))
            for row, entry in zip(batch, entries, strict=True)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The cached answers {file} cannot be read ({error}).", "Delete the file.") from error


def _save(file: Path, answers: list[Answer]) -> None:
    content = json.dumps({"answers": [asdict(answer) for answer in answers]}, ensure_ascii=True)
    write_folder(file.parent, {file.name: content.encode()})
