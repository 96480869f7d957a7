"""In the place of umap, whose first fit compiles for a while: the first two coordinates."""

from typing import Any, ClassVar

import numpy as np


class UMAP:
    """Note the points that it is asked to fit."""

    fitted: ClassVar[list[np.ndarray]] = []

    def __init__(self, **settings: Any) -> None:
        assert settings["metric"] == "cosine"

    def fit_transform(self, points: np.ndarray) -> np.ndarray:
        self.fitted.append(points)
        return points[:, :2]
