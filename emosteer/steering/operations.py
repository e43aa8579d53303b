"""Operations on the residual stream after a layer.

Each operation takes the stream `[batch, tokens, d_model]`, the layer's `Site`, and the gain of each column at each
token, `[batch or 1, tokens, columns]`, or None if every gain is 1. It returns a new stream.
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
    """The tensors of a plan for one layer.

    Args:
        vectors: `[rows or 1, columns, d_model]`, what each column adds at gain 1.
        read: `[rows or 1, columns, d_model]`, unit directions whose components are set, or None for additive plans.
        level: `[rows or 1, columns]`, target value of each component.
        hold: `[rows or 1, columns]`, share of the present component that is removed.
    """

    vectors: Tensor
    read: Tensor | None = None
    level: Tensor | None = None
    hold: Tensor | None = None


def add(hidden: Tensor, site: Site, gain: Tensor | None) -> Tensor:
    """Return h + Σ gain · vector; without a gain, the vectors are in the stream's dtype already."""
    return hidden + (site.vectors if gain is None else _delta(site.vectors, gain).to(hidden.dtype))


def norm_preserving(hidden: Tensor, site: Site, gain: Tensor | None) -> Tensor:
    """Return (h + δ) · ‖h‖ / ‖h + δ‖, which turns the stream towards the tone and keeps its norm."""
    import torch

    steered = hidden.float() + _delta(site.vectors, gain)
    before, after = hidden.float().norm(dim=-1, keepdim=True), steered.norm(dim=-1, keepdim=True)
    return (steered * torch.where(after > 0, before / after, 1.0)).to(hidden.dtype)


def settle(hidden: Tensor, site: Site, gain: Tensor | None) -> Tensor:
    """Return h + Σ gain · (level − hold · component) · dual, the smallest step that sets components to their levels.

    The duals (`site.vectors`, rows of the pseudo-inverse) let several non-orthogonal directions be set at once.
    Ablation sets the level to 0; for one direction see Arditi et al. 2024, arXiv 2406.11717.
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
"""Operations by name; `plan` builds the sites that each one needs."""


def _delta(vectors: Tensor, gain: Tensor | None) -> Tensor:
    if gain is None:
        return vectors.sum(-2, keepdim=True) if vectors.shape[-2] > 1 else vectors
    return gain * vectors if vectors.shape[-2] == 1 else gain.to(vectors) @ vectors
