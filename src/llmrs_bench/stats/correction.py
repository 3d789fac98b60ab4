"""Corrections of p-values for the number of tests."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values adjusted for the family-wise error rate, step down (Holm 1979), in the order and shape of `p`."""
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    steps = flat[order] * np.arange(flat.size, 0, -1)
    return _back(np.maximum.accumulate(steps), order, p.shape)


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values adjusted for the false discovery rate, step up (Benjamini and Hochberg 1995), shaped as `p`."""
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    steps = flat[order] * flat.size / np.arange(1, flat.size + 1)
    return _back(np.minimum.accumulate(steps[::-1])[::-1], order, p.shape)


def _back(sorted_p: NDArray[np.float64], order: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.float64]:
    adjusted = np.empty_like(sorted_p)
    adjusted[order] = np.minimum(sorted_p, 1.0)
    return adjusted.reshape(shape)


CORRECTIONS: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "holm": holm,
    "bh": benjamini_hochberg,
    "none": np.copy,
}
