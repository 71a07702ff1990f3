"""The surrogate of a search: whatever predicts rewards of cells, and is kept in a file if it can be."""

from pathlib import Path

import numpy as np

from pnas.store.atomic import file_content, write_atomically


class KeptSurrogate:
    """Gives a surrogate all that a search asks of it, and writes it to a file after each fit.

    A resumed search fits it again: from the same seed, cells and rewards, the same surrogate results.

    Args:
        surrogate: has `fit(cells, rewards)` and `predict(cells)`, which returns a float array (m,), as a regressor of
            scikit-learn has; cells are lists `[input1, op1, input2, op2, ...]`. More is used where it is there:
            `fit` may return a list of losses, `predict_with_deviation(cells)` the predictions and their standard
            deviations, which are otherwise 0, and `save(path)` may write it. Such as an Encoder, not yet fitted.
        path: of the file, `weights/NAME/surrogate.keras`.
    """

    def __init__(self, surrogate, path: str | Path):
        self.surrogate, self.path = surrogate, path

    def fit(self, cells: list[list], rewards: list[float]) -> list[float]:
        """Fits the surrogate and returns its losses, none if it has none."""
        losses = self.surrogate.fit(cells, rewards)
        if hasattr(self.surrogate, "save"):
            write_atomically(self.path, file_content(self.surrogate))
        return losses if isinstance(losses, list) else []

    def predict(self, cells: list[list]) -> np.ndarray:
        """Predicted rewards, float array (m,)."""
        return np.asarray(self.surrogate.predict(cells))

    def predict_with_deviation(self, cells: list[list]) -> tuple[np.ndarray, np.ndarray]:
        """Predicted rewards and their standard deviations, two float arrays (m,)."""
        if hasattr(self.surrogate, "predict_with_deviation"):
            return self.surrogate.predict_with_deviation(cells)
        predicted = self.predict(cells)
        return predicted, np.zeros_like(predicted)
