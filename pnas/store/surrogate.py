"""The surrogate of a search, kept in a file."""

from pathlib import Path

import numpy as np

from pnas.encoder import Encoder
from pnas.store.atomic import file_content, write_atomically


class KeptSurrogate:
    """An Encoder that is written to a file after each fit, from which `Encoder.load` reads it.

    A resumed search fits it again: from the same seed, cells and rewards, the same surrogate results.

    Args:
        encoder: Encoder without fits.
        path: of the file, `weights/NAME/surrogate.keras`.
    """

    def __init__(self, encoder: Encoder, path: str | Path):
        self.encoder, self.path, self.state_space = encoder, path, encoder.state_space

    def fit(self, cells: list[list], rewards: list[float]) -> list[float]:
        """As `Encoder.fit`."""
        losses = self.encoder.fit(cells, rewards)
        write_atomically(self.path, file_content(self.encoder))
        return losses

    def predict(self, cells: list[list]) -> np.ndarray:
        """As `Encoder.predict`."""
        return self.encoder.predict(cells)

    def predict_with_deviation(self, cells: list[list]) -> tuple[np.ndarray, np.ndarray]:
        """As `Encoder.predict_with_deviation`."""
        return self.encoder.predict_with_deviation(cells)

    def rank(self, cells: list[list], K: int) -> tuple[list[list], np.ndarray]:
        """As `Encoder.rank`."""
        return self.encoder.rank(cells, K)
