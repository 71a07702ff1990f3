"""The surrogate of a search, kept in a file."""

import warnings
from pathlib import Path

import numpy as np

from pnas.encoder import Encoder
from pnas.store.atomic import file_content, write_atomically


class KeptSurrogate:
    """An Encoder that is kept in a file after each fit, and restored from it where a resumed search repeats its fits.

    A resumed search asks for the fits of earlier runs again, one block size after the other. As long as they are those
    that the file was made by, nothing is fitted: the last of them restores the Encoder. When one differs, or a
    prediction is wanted in between, all are made again, which gives the same numbers.

    Args:
        encoder: Encoder without fits.
        path: of the file, `weights/NAME/surrogate.keras`.
    """

    def __init__(self, encoder: Encoder, path: str | Path):
        self.encoder, self.path = encoder, Path(path)
        self._asked = []  # (cells, rewards) of each fit
        self._kept = None  # Encoder of the file, as long as it has these fits
        if self.path.exists():
            try:
                kept = Encoder.load(self.path)
            except (ValueError, OSError) as error:
                warnings.warn(f"{error}. The surrogate is fitted again", stacklevel=2)
            else:
                self._kept = kept if kept.get_config() == encoder.get_config() else None

    def fit(self, cells: list[list], rewards: list[float]) -> list[float]:
        """As `Encoder.fit`."""
        self._asked.append((list(map(list, cells)), list(map(float, rewards))))
        number = len(self._asked)
        fits = self._kept.fits if self._kept else []
        if [(fit["cells"], fit["rewards"]) for fit in fits[:number]] != self._asked:
            self._kept = None
            return self._catch_up()
        if number == len(fits):
            self.encoder, self._kept = self._kept, None
        return fits[number - 1]["losses"]

    def predict(self, cells: list[list]) -> np.ndarray:
        """As `Encoder.predict`."""
        self._catch_up()
        return self.encoder.predict(cells)

    def rank(self, cells: list[list], K: int) -> tuple[list[list], np.ndarray]:
        """As `Encoder.rank`."""
        self._catch_up()
        return self.encoder.rank(cells, K)

    def _catch_up(self):
        """Makes the fits that were asked for and have not been made, and returns the losses of the last one."""
        missing = self._asked[len(self.encoder.fits) :]
        for fit in missing:
            self.encoder.fit(*fit)
        if missing:
            write_atomically(self.path, file_content(self.encoder))
        return self.encoder.fits[-1]["losses"] if self.encoder.fits else None
