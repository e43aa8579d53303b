"""What is done to the residual stream after a layer.

Every operation is given the stream `[batch, tokens, d_model]`, what the plan has for the layer, and the gain of each
column at each token, `[batch or 1, tokens, columns]` or None where all are 1. It returns a new stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["OPERATIONS", "Site"]


@dataclass(frozen=True)
class Site:
    """What a plan has for one layer.

    Args:
        vectors: `[rows or 1, columns, d_model]`, what a gain of 1 in each column adds.
        read: `[rows or 1, columns, d_model]`, unit directions whose components are set, or None where all is added.
        level: `[rows or 1, columns]`, what the components are set to.
        hold: `[rows or 1, columns]`, which share of the component that is there gives way.
    """

    vectors: Tensor
    read: Tensor | None = None
    level: Tensor | None = None
    hold: Tensor | None = None


def add(hidden: Tensor, site: Site, gain: Tensor | None) -> Tensor:
    """Give h + Σ gain · vector; with no gain there is one column, in the stream's dtype already."""
    return hidden + (site.vectors if gain is None else _delta(site.vectors, gain).to(hidden.dtype))


def norm_preserving(hidden: Tensor, site: Site, gain: Tensor | None) -> Tensor:
    """(h + δ) · ‖h‖ / ‖h + δ‖: the stream turns towards the tone and keeps its length."""
    import torch

    steered = hidden.float() + _delta(site.vectors, gain)
    before, after = hidden.float().norm(dim=-1, keepdim=True), steered.norm(dim=-1, keepdim=True)
    return (steered * torch.where(after > 0, before / after, 1.0)).to(hidden.dtype)


def settle(hidden: Tensor, site: Site, gain: Tensor | None) -> Tensor:
    """Give h + Σ gain · (level − hold · component) · dual: the smallest step that sets the components to their levels.

    The duals (`site.vectors`, rows of the pseudo-inverse) let several directions that are not orthogonal be set at
    once. Ablation is level 0; see Arditi et al. 2024, arXiv 2406.11717, for one direction.
    """
    assert site.read is not None
    assert site.level is not None
    assert site.hold is not None
    component = hidden.float() @ site.read.mT
    step = site.level.unsqueeze(-2) - site.hold.unsqueeze(-2) * component
    return hidden + ((step if gain is None else step * gain) @ site.vectors).to(hidden.dtype)


OPERATIONS: dict[str, Callable[[Tensor, Site, Tensor | None], Tensor]] = {
    "add": add,
    "norm_preserving": norm_preserving,
    "ablate": settle,
    "project": settle,
}
"""Operations by name: how a plan is laid out for each is in `plan`."""


def _delta(vectors: Tensor, gain: Tensor | None) -> Tensor:
    if gain is None:
        return vectors.sum(-2, keepdim=True) if vectors.shape[-2] > 1 else vectors
    return gain * vectors if vectors.shape[-2] == 1 else gain.to(vectors) @ vectors
