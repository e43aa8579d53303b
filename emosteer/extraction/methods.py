"""Extraction methods: one direction per emotion from the activations of one layer.

A method is a function and an entry in METHODS. It takes the activations, `[n_texts, d_model]`, and the index of the
emotion of each text, `[n_texts]`. It returns directions `[n_emotions, d_model]` of any length.
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
    """Compute the mean over the texts of each emotion, minus the mean over emotions.

    Args:
        states: `[n_texts, d_model]`.
        labels: `[n_texts]`, from 0 to `n_emotions` − 1.
        n_emotions: Number of emotions.
    """
    means = _class_means(states, labels, n_emotions)
    return means - means.mean(0)


def pca(states: Tensor, labels: Tensor, n_emotions: int) -> Tensor:
    """Compute the first principal component of the differences between an emotion's texts and the other emotions.

    The differences are those of each text from the mean of the other emotions. They are not centred, so the component
    is what they have in common. After Zou et al. 2023 (arXiv 2310.01405).

    Args:
        states: `[n_texts, d_model]`.
        labels: `[n_texts]`, from 0 to `n_emotions` − 1.
        n_emotions: Number of emotions.
    """
    import torch

    means = _class_means(states, labels, n_emotions)
    others = (means.sum(0) - means) / max(1, n_emotions - 1)
    components = []
    for i in range(n_emotions):
        differences = states[labels == i] - others[i]
        component = torch.linalg.svd(differences, full_matrices=False).Vh[0]
        components.append(component * torch.sign(differences.mean(0) @ component))  # its sign is arbitrary
    return torch.stack(components)


def logistic(states: Tensor, labels: Tensor, n_emotions: int) -> Tensor:
    """Compute the normals of a multinomial logistic regression that tells the emotions apart.

    Each dimension is first divided by its standard deviation within emotions, so that regularisation does not depend on
    the scale of the dimensions. Needs scikit-learn (the extra `eval`).

    Args:
        states: `[n_texts, d_model]`.
        labels: `[n_texts]`, from 0 to `n_emotions` − 1.
        n_emotions: Number of emotions, at least two.

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
    deviation = (states - means[labels]).std(0)  # within emotions, so that their differences are not scaled away
    deviation[deviation == 0] = 1
    scaled = ((states - means.mean(0)) / deviation).numpy()
    model = LogisticRegression(C=0.01, max_iter=1_000).fit(scaled, labels.numpy())
    normals = torch.from_numpy(model.coef_ if n_emotions > 2 else np.concatenate([-model.coef_, model.coef_]))
    return normals.to(states.dtype) / deviation


METHODS: dict[str, Method] = {"logistic": logistic, "mean_difference": mean_difference, "pca": pca}


def _class_means(states: Tensor, labels: Tensor, n_emotions: int) -> Tensor:
    import torch

    return torch.stack([states[labels == i].mean(0) for i in range(n_emotions)])
