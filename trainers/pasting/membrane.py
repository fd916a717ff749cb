"""Grey levels that continue a region's surroundings smoothly into it."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu

STEPS = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])


def membrane(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The solution of Laplace's equation in a region whose neighbours are kept.

    A region's difference to its membrane is what seamless cloning moves (Perez et al., Poisson image editing, SIGGRAPH
    2003): added to the membrane of another place it continues that place's surroundings.

    Args:
        image: H x W, any real type.
        region: H x W bool; at least one pixel of the image beside each of its parts is not in it.

    Returns:
        One float64 per pixel of the region, in the order of `image[region]`.
    """
    inside = np.argwhere(region)
    number = np.full(image.shape, -1)
    number[region] = np.arange(len(inside))
    beside = inside[:, None] + STEPS
    within = ((beside >= 0) & (beside < image.shape)).all(axis=2)
    centre, step = np.nonzero(within)
    row, column = beside[centre, step].T
    unknown = number[row, column]
    free = unknown >= 0
    known = np.bincount(centre[~free], image[row, column][~free], len(inside))
    # Each pixel is the mean of its neighbours within the image.
    diagonal = np.arange(len(inside))
    entries = (
        np.concatenate([within.sum(axis=1), -np.ones(free.sum())]),
        (np.concatenate([diagonal, centre[free]]), np.concatenate([diagonal, unknown[free]])),
    )
    return splu(coo_array(entries, shape=2 * diagonal.shape).tocsc()).solve(known)
