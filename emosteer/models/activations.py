"""Texts → pooled residual-stream activations, at every layer asked for, in one pass without the language-model head."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from emosteer.errors import InputError, ToneError
from emosteer.layers import decoder, decoder_layers, hidden_of, hidden_size, input_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["POOLINGS", "Activations", "Encoded", "Passage", "Progress", "collect", "encode"]

Pooling = Callable[["Tensor", "Tensor"], "Tensor"]
Progress = Callable[[int, int], None]
"""Called with how many texts have been read and how many there are; what it raises ends the reading."""


@dataclass(frozen=True)
class Passage:
    """A text of which only a part is pooled over, as a word inside a sentence frame or a reply inside a chat.

    Args:
        text: All that the model reads.
        start: First character of the part that counts.
        end: Character after its last.
        special_tokens: Whether the tokenizer adds its own; a rendered chat already has them.
    """

    text: str
    start: int
    end: int
    special_tokens: bool = True

    @classmethod
    def whole(cls, text: str) -> Passage:
        """A text that counts from beginning to end."""
        return cls(text, 0, len(text))


class Activations(NamedTuple):
    """What `collect` returns, float32 on the CPU.

    Args:
        states: `[n_texts, n_layers, d_model]`, pooled over the content tokens.
        norms: `[n_texts, n_layers]`, mean L2 norm of the residual stream at the content tokens.
    """

    states: Tensor
    norms: Tensor


def mean(hidden: Tensor, content: Tensor) -> Tensor:
    """Mean over content tokens: `[batch, tokens, d]`, `[batch, tokens]` → `[batch, d]`."""
    return (content.unsqueeze(1) @ hidden).squeeze(1) / content.sum(1, keepdim=True)


def last(hidden: Tensor, content: Tensor) -> Tensor:
    """The last content token: `[batch, tokens, d]`, `[batch, tokens]` → `[batch, d]`."""
    import torch

    positions = torch.arange(content.shape[1], device=content.device)
    return hidden[torch.arange(len(hidden), device=hidden.device), (content * positions).argmax(1)]


POOLINGS: dict[str, Pooling] = {"mean": mean, "last": last}
"""Poolings by name; a new one is a function `(hidden, content) -> pooled` and a line here."""


def collect(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str | Passage],
    *,
    layers: Sequence[int] | None = None,
    pooling: str = "mean",
    batch_size: int = 16,
    progress: bool | Progress = True,
) -> Activations:
    """Read texts and pool the residual stream after each block.

    Content tokens are those of the text itself, without special tokens and without the first of the sequence, which is
    an attention sink with a norm of its own. Texts are batched by length and pooled while the model runs, so memory
    grows with the number of texts and of layers, not with their length.

    Args:
        model: Any causal language model of transformers, on any device, in any dtype.
        tokenizer: Its tokenizer.
        texts: What to read.
        layers: Blocks to read after, 0-based; all by default. The model runs no further than the last of them.
        pooling: A key of `POOLINGS`: `"mean"` or `"last"`.
        batch_size: Texts at a time. The result does not depend on it beyond rounding.
        progress: Show a progress bar if standard error is a terminal; or a function that is told after each batch how
            many texts have been read, of how many.

    Returns:
        States `[n_texts, n_layers, d_model]` and norms `[n_texts, n_layers]`, in the order of `texts` and `layers`.

    Raises:
        InputError: A text is empty, has no content token or is longer than the model's context, or the pooling or the
            batch size is not one.
        ToneError: A layer is not there.
        IncompatibleModelError: The model's blocks cannot be found.
    """
    import torch
    from tqdm.auto import tqdm

    blocks = decoder_layers(model)
    wanted = tuple(range(len(blocks))) if layers is None else tuple(layers)
    if not wanted:
        raise ToneError("No layer is to be read.", "Name at least one, or leave layers out for all.")
    for layer in wanted:
        if not 0 <= layer < len(blocks):
            raise ToneError(f"There is no layer {layer}: the model has layers 0 to {len(blocks) - 1}.")
    if pooling not in POOLINGS:
        raise InputError(f"Unknown pooling {pooling!r}.", f"Choose one of: {', '.join(POOLINGS)}.")
    if batch_size < 1:
        raise InputError(f"The batch size is {batch_size}, it must be at least 1.")
    encoded = [encode(tokenizer, text, model, f"Text {i}") for i, text in enumerate(texts)]
    states = torch.empty(len(texts), len(wanted), hidden_size(model))
    norms = torch.empty(len(texts), len(wanted))
    device, padding = input_device(model), tokenizer.pad_token_id or 0
    order = sorted(range(len(texts)), key=lambda i: len(encoded[i].ids), reverse=True)  # the largest batch first
    bar = tqdm(total=len(texts), desc="Reading", unit="text", disable=None if progress is True else True, leave=False)
    with bar, torch.inference_mode():
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            length = len(encoded[rows[0]].ids)
            ids = torch.full((len(rows), length), padding)
            mask, content = torch.zeros_like(ids), torch.zeros(len(rows), length)
            for row, i in enumerate(rows):
                ids[row, : len(encoded[i].ids)] = torch.tensor(encoded[i].ids)
                mask[row, : len(encoded[i].ids)] = 1
                content[row, encoded[i].content] = 1
            with _pooled(blocks, wanted, POOLINGS[pooling], content, states, norms, rows):
                _run(decoder(model), input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
            bar.update(len(rows))
            if callable(progress):
                progress(begin + len(rows), len(texts))
    return Activations(states, norms)


class Encoded(NamedTuple):
    """A text as token ids.

    Args:
        ids: All that the model reads.
        inside: Positions of the tokens of the part that counts.
        content: Those of them that say something: no special token and not the first of the sequence.
    """

    ids: list[int]
    inside: list[int]
    content: list[int]


def encode(tokenizer: PreTrainedTokenizerBase, text: str | Passage, model: PreTrainedModel, called: str) -> Encoded:
    """Turn a text into token ids and find those that count.

    Args:
        tokenizer: The model's.
        text: What to read.
        model: That will read it.
        called: What an error calls the text.

    Raises:
        InputError: It is empty, has no content token or is longer than the model's context.
    """
    passage = Passage.whole(text) if isinstance(text, str) else text
    if not passage.text[passage.start : passage.end].strip():
        raise InputError(f"{called} is empty.")
    encoding = tokenizer(
        passage.text, add_special_tokens=passage.special_tokens, return_offsets_mapping=tokenizer.is_fast
    )
    ids: list[int] = encoding["input_ids"]
    limit = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if limit is not None and len(ids) > limit:
        raise InputError(
            f"{called} has {len(ids)} tokens, the model reads at most {limit}: {passage.text[:40]!r}…",
            "Shorten or split it.",
        )
    special = set(tokenizer.all_special_ids)
    if tokenizer.is_fast:
        spans: list[tuple[int, int]] = encoding["offset_mapping"]
        inside = [i for i, (start, end) in enumerate(spans) if start < passage.end and end > passage.start]
    else:  # a slow tokenizer knows no characters: count the tokens up to either end
        bare = tokenizer(passage.text, add_special_tokens=False)["input_ids"]
        lead = next(i for i in range(len(ids)) if ids[i : i + len(bare)] == bare)  # specials before the text
        first, last = (
            lead + len(tokenizer(passage.text[:at], add_special_tokens=False)["input_ids"])
            for at in (passage.start, passage.end)
        )
        inside = list(range(first, last))
    content = [i for i in inside if i > 0 and ids[i] not in special]
    if not content:
        raise InputError(
            f"{called} is a single token, which the model uses as its attention sink: {passage.text!r}.",
            "Put it into a sentence.",
        )
    return Encoded(ids, inside, content)


class _Enough(Exception):  # noqa: N818 - not an error: the last layer asked for has been read
    pass


def _run(module: nn.Module, **inputs: Any) -> None:
    with suppress(_Enough):
        module(**inputs)


@contextmanager
def _pooled(
    blocks: nn.ModuleList,
    layers: Sequence[int],
    pool: Pooling,
    content: Tensor,
    states: Tensor,
    norms: Tensor,
    rows: Sequence[int],
) -> Iterator[None]:
    """While open, a forward pass fills `states[rows]` and `norms[rows]` and ends after the last layer."""
    import torch

    columns = {layer: [c for c, wanted in enumerate(layers) if wanted == layer] for layer in layers}
    here = torch.tensor(rows)
    on_device: dict[torch.device, Tensor] = {}
    reader = threading.get_ident()

    def read(layer: int, block: nn.Module, _args: Any, output: Any) -> None:
        if threading.get_ident() != reader:  # another thread runs the same model meanwhile
            return
        hidden = hidden_of(output, block)
        if hidden.device not in on_device:
            on_device[hidden.device] = content.to(hidden.device)
        kept = on_device[hidden.device]
        values = hidden.float()
        pooled = pool(values, kept).cpu()
        mean_length = ((values.norm(dim=-1) * kept).sum(1) / kept.sum(1)).cpu()
        for column in columns[layer]:
            states[here, column] = pooled
            norms[here, column] = mean_length
        if layer == max(layers):
            raise _Enough

    handles = [blocks[layer].register_forward_hook(partial(read, layer), prepend=True) for layer in columns]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
