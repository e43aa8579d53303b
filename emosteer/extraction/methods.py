"""How activations of many emotions become one direction an emotion. A method is one function and one line in METHODS.

Every method takes the activations of one layer, `[n_texts, d_model]`, and the emotion of each text, `[n_texts]`, and
returns one direction an emotion, `[n_emotions, d_model]`, of any length, pointing towards the emotion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emosteer.errors import MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

Method = Callable[["Tensor", "Tensor", int], "Tensor"]

__all__ = ["METHODS", "logistic", "mean_difference", "pca"]


def mean_difference(states: Tensor, labels: Tensor, n_emotions: int) -> Tensor:
    """Mean of the emotion's texts minus the mean over emotions.

    Args:
        states: `[n_texts, d_model]`.
        labels: `[n_texts]`, from 0 to `n_emotions` − 1.
        n_emotions: How many there are.
    """
    means = _class_means(states, labels, n_emotions)
    return means - means.mean(0)


def pca(states: Tensor, labels: Tensor, n_emotions: int) -> Tensor:
    """First principal component of what sets the emotion's texts apart from the others (Zou et al. 2023).

    The component is taken of the differences between each text of the emotion and the mean of the other emotions,
    without centring them, so that what they have in common is what it finds.

    Args:
        states: `[n_texts, d_model]`.
        labels: `[n_texts]`, from 0 to `n_emotions` − 1.
        n_emotions: How many there are.
    """
    import torch

    means = _class_means(states, labels, n_emotions)
    others = (means.sum(0) - means) / max(1, n_emotions - 1)
    components = []
    for i in range(n_emotions):
        differences = states[labels == i] - others[i]
        component = torch.linalg.svd(differences, full_matrices=False).Vh[0]
        components.append(component * torch.sign(differences.mean(0) @ component))  # a component has no sign of its own
    return torch.stack(components)


def logistic(states: Tensor, labels: Tensor, n_emotions: int) -> Tensor:
    """Normals of a multinomial logistic regression that tells the emotions apart.

    It is regularised in units of each dimension's spread within emotions, so the unit of a dimension does not matter.

    Needs scikit-learn (the extra `eval`).

    Args:
        states: `[n_texts, d_model]`.
        labels: `[n_texts]`, from 0 to `n_emotions` − 1.
        n_emotions: How many there are; at least two.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    import numpy as np
    import torch

    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError(
            "The method 'logistic' needs scikit-learn.", "Install it with: pip install 'emosteer[eval]'"
        ) from error
    means = _class_means(states, labels, n_emotions)
    spread = (states - means[labels]).std(0)  # within emotions: what sets them apart must not be scaled away
    spread[spread == 0] = 1
    scaled = ((states - means.mean(0)) / spread).numpy()
    model = LogisticRegression(C=0.01, max_iter=1_000).fit(scaled, labels.numpy())
    normals = torch.from_numpy(model.coef_ if n_emotions > 2 else np.concatenate([-model.coef_, model.coef_]))
    return normals.to(states.dtype) / spread


METHODS: dict[str, Method] = {"logistic": logistic, "mean_difference": mean_difference, "pca": pca}


def _class_means(states: Tensor, labels: Tensor, n_emotions: int) -> Tensor:
    import torch

    return torch.stack([states[labels == i].mean(0) for i in range(n_emotions)])
