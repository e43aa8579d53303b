"""Pooled residual-stream activations of texts, at several layers in one forward pass, without the head."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from emosteer._util.numbers import layer_numbers
from emosteer._util.progress import Meter, counted
from emosteer._util.text import BYTE_ORDER_MARK, checked
from emosteer.errors import InputError, ToneError
from emosteer.layers import decoder, decoder_layers, hidden_of, hidden_size, input_device
from emosteer.models.generation import context_length
from emosteer.models.side_pass import side_pass

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["POOLINGS", "Activations", "Encoded", "Passage", "Progress", "collect", "encode", "sinks"]

Pooling = Callable[["Tensor", "Tensor"], "Tensor"]
Progress = Callable[[int, int], None]
"""Called with the number of texts read and their total; an exception that it raises ends the reading."""
SINK = 10.0
"""Times the median norm of a text; a token beyond outweighs the rest, as attention sinks do (20 to 190 times)."""


@dataclass(frozen=True)
class Passage:
    """A text of which only a part is pooled, such as a word in a sentence frame or a reply in a chat.

    Args:
        text: The whole text that the model reads.
        start: First character of the part.
        end: Character after its last.
        special_tokens: Whether the tokenizer adds special tokens; a rendered chat already has them.
    """

    text: str
    start: int
    end: int
    special_tokens: bool = True

    @classmethod
    def whole(cls, text: str) -> Passage:
        """Return a passage that covers the whole text."""
        return cls(text, 0, len(text))


class Activations(NamedTuple):
    """Pooled activations, float32 on the CPU.

    Args:
        states: `[n_texts, n_layers, d_model]`, pooled over the content tokens.
        norms: `[n_texts, n_layers]`, mean L2 norm of the residual stream at the content tokens.
    """

    states: Tensor
    norms: Tensor


def mean(hidden: Tensor, content: Tensor) -> Tensor:
    """Return the mean over content tokens: `[batch, tokens, d]`, `[batch, tokens]` → `[batch, d]`."""
    return (content.unsqueeze(1) @ hidden).squeeze(1) / content.sum(1, keepdim=True)


def last(hidden: Tensor, content: Tensor) -> Tensor:
    """Return the last content token: `[batch, tokens, d]`, `[batch, tokens]` → `[batch, d]`."""
    import torch

    positions = torch.arange(content.shape[1], device=content.device)
    return hidden[torch.arange(len(hidden), device=hidden.device), (content * positions).argmax(1)]


def sinks(lengths: Tensor, content: Tensor) -> Tensor:
    """Return where tokens are attention sinks by their norm, of the norms and the content: `[batch, tokens]` each."""
    import torch

    usual = lengths.masked_fill(content == 0, torch.nan).nanmedian(1, keepdim=True).values
    return lengths > SINK * usual


POOLINGS: dict[str, Pooling] = {"mean": mean, "last": last}
"""Poolings by name, each a function `(hidden, content) -> pooled`."""


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
    """Read texts with the plain model, in evaluation mode, and pool the residual stream after each block.

    Content tokens are those of the text itself, without special tokens and without the first of the sequence, which is
    an attention sink of exceptional norm. Some models have more sinks, such as a first token that is repeated or the
    word after an opening quotation mark. Each would outweigh the rest of its text, so a token with more than `SINK`
    times the median norm of its text does not count either. Texts are batched by length and pooled while the model
    runs, so memory grows with the number of texts and layers, not with the length of the texts.

    Args:
        model: Any causal language model of transformers, on any device, in any dtype.
        tokenizer: Its tokenizer.
        texts: The texts.
        layers: Layers to read, 0-based; all by default. The model stops after the last of them.
        pooling: A key of `POOLINGS`: `"mean"` or `"last"`.
        batch_size: Texts per batch. Results depend on it only by rounding.
        progress: Whether to show progress on standard error: a bar on a terminal, elsewhere one line a minute; or a
            function to call after each batch.

    Returns:
        States `[n_texts, n_layers, d_model]` and norms `[n_texts, n_layers]`, in the order of `texts` and `layers`.

    Raises:
        InputError: A text is empty, is not text, has no content token or is longer than the model's context, the
            pooling is unknown, or the batch size is below 1.
        ToneError: A layer does not exist, or the list of layers is empty.
        IncompatibleModelError: The model's blocks cannot be found.
    """
    import torch

    blocks = decoder_layers(model)
    layers = tuple(range(len(blocks))) if layers is None else layer_numbers(layers)
    if not layers:
        raise ToneError("The list of layers is empty.", "Name at least one, or leave layers out for all.")
    for layer in layers:
        if not 0 <= layer < len(blocks):
            raise ToneError(f"There is no layer {layer}: the model has layers 0 to {len(blocks) - 1}.")
    if pooling not in POOLINGS:
        raise InputError(f"Unknown pooling {pooling!r}.", f"Choose one of: {', '.join(POOLINGS)}.")
    if batch_size < 1:
        raise InputError(f"The batch size is {batch_size}, it must be at least 1.")
    encoded = [encode(tokenizer, text, model, f"Text {i}") for i, text in enumerate(texts)]
    states = torch.empty(len(texts), len(layers), hidden_size(model), dtype=torch.float32, device="cpu")
    norms = torch.empty(len(texts), len(layers), dtype=torch.float32, device="cpu")
    device, padding = input_device(model), tokenizer.pad_token_id or 0
    order = sorted(range(len(texts)), key=lambda i: len(encoded[i].ids), reverse=True)  # the largest batch first
    meter = Meter(f"Reading {counted(len(texts), 'text')}", len(texts), progress is True)
    with meter, side_pass(model), torch.inference_mode():
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            length = len(encoded[rows[0]].ids)
            ids = torch.full((len(rows), length), padding, dtype=torch.long, device="cpu")
            mask, content = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.float32)
            for row, i in enumerate(rows):
                ids[row, : len(encoded[i].ids)] = torch.tensor(encoded[i].ids, dtype=torch.long, device="cpu")
                mask[row, : len(encoded[i].ids)] = 1
                content[row, encoded[i].content] = 1
            with suppress(_Finished), _pooled(blocks, layers, POOLINGS[pooling], content, states, norms, rows):
                decoder(model)(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
            meter.advance(len(rows))
            if callable(progress):
                progress(begin + len(rows), len(texts))
    return Activations(states, norms)


class Encoded(NamedTuple):
    """A text as token ids.

    Args:
        ids: The token ids of the whole text.
        inside: Positions of the tokens of the passage.
        content: Those of them that are content: neither special tokens nor the first of the sequence.
    """

    ids: list[int]
    inside: list[int]
    content: list[int]


def encode(tokenizer: PreTrainedTokenizerBase, text: str | Passage, model: PreTrainedModel, name: str) -> Encoded:
    """Tokenize a text and find its content tokens.

    Args:
        tokenizer: The tokenizer.
        text: The text or passage.
        model: The model that will read it.
        name: Name of the text for error messages.

    Raises:
        InputError: The text is empty, is not text, has no content token or is longer than the model's context.
    """
    passage = Passage.whole(text.removeprefix(BYTE_ORDER_MARK)) if isinstance(text, str) else text
    checked(passage.text, name)
    if not passage.text[passage.start : passage.end].strip():
        raise InputError(f"{name} is empty.")
    encoding = tokenizer(
        passage.text, add_special_tokens=passage.special_tokens, return_offsets_mapping=tokenizer.is_fast
    )
    ids: list[int] = encoding["input_ids"]
    if len(ids) > (limit := context_length(model)):
        raise InputError(
            f"{name} has {len(ids)} tokens, the model reads at most {limit}: {passage.text[:40]!r}…",
            "Shorten or split it.",
        )
    special = set(tokenizer.all_special_ids)
    if tokenizer.is_fast:
        spans: list[tuple[int, int]] = encoding["offset_mapping"]
        inside = [i for i, (start, end) in enumerate(spans) if start < passage.end and end > passage.start]
    else:  # a slow tokenizer has no character offsets: count the tokens up to either end
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
            f"{name} is a single token, which the model uses as its attention sink: {passage.text!r}.",
            "Put it into a sentence.",
        )
    return Encoded(ids, inside, content)


class _Finished(Exception):  # noqa: N818 - not an error: it ends the pass after the last layer
    pass


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
    """Let forward passes fill `states[rows]` and `norms[rows]`, and raise `_Finished` after the last layer."""
    import torch

    columns = {layer: [column for column, other in enumerate(layers) if other == layer] for layer in layers}
    indices = torch.tensor(rows, dtype=torch.long, device="cpu")
    reader = threading.get_ident()

    def read(layer: int, block: nn.Module, _args: Any, output: Any) -> None:
        if threading.get_ident() != reader:  # another thread is running the same model
            return
        hidden = hidden_of(output, block)
        values = hidden.float()
        lengths = values.norm(dim=-1).cpu()
        weights = content * ~sinks(lengths, content)
        pooled = pool(values, weights.to(values.device)).cpu()
        mean_norm = (lengths * weights).sum(1) / weights.sum(1)
        for column in columns[layer]:
            states[indices, column] = pooled
            norms[indices, column] = mean_norm
        if layer == max(layers):
            raise _Finished

    handles = [blocks[layer].register_forward_hook(partial(read, layer), prepend=True) for layer in columns]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
