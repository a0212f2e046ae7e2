"""Feature statistics of a LeRobotDataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
# Number of images used, evenly spread, and number of pixels per side: about 100 x 100.
_IMAGES, _SIDE = 100, 100


def statistics_of(values: npt.NDArray[Any]) -> dict[str, Any]:
    """Minimum, maximum, mean, standard deviation, count and quantiles of each dimension.

    Args:
        values: Values of M steps: numbers (M,) or (M, K), or images (M, H, W, 3) uint8, which are
            subsampled.

    Returns:
        Lists of K values; for images of shape (3, 1, 1), from 0 to 1.
    """
    picture = values.ndim == 4
    if picture:
        chosen = np.linspace(0, len(values) - 1, min(_IMAGES, len(values))).astype(int)
        strides = [max(1, side // _SIDE) for side in values.shape[1:3]]
        rows = values[chosen][:, :: strides[0], :: strides[1]].reshape(-1, 3) / 255.0
        count = len(chosen)
    else:
        rows, count = values.reshape(len(values), -1).astype(np.float64), len(values)
    quantiles = np.quantile(rows, list(_QUANTILES.values()), axis=0)
    found = {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0),
        "std": rows.std(axis=0),
        **dict(zip(_QUANTILES, quantiles, strict=True)),
    }
    shape = (3, 1, 1) if picture else (-1,)
    return {**{k: v.reshape(shape).tolist() for k, v in found.items()}, "count": [count]}
