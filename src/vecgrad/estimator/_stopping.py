"""When training has gone on long enough: scikit-learn's rule for its own networks."""

from __future__ import annotations

import math


class Patience:
    """Lost when ``epochs`` epochs in a row bring no score better than the best one by ``tol``; larger is better."""

    def __init__(self, tol: float, epochs: int) -> None:
        self._tol, self._epochs = tol, epochs
        self._waited = 0
        self.best = -math.inf

    def lost(self, score: float) -> bool:
        """Whether it is lost by this epoch's score.

        >>> patience = Patience(tol=0.1, epochs=2)
        >>> [patience.lost(score) for score in (0.5, 0.55, 0.7, 0.7, 0.75)]
        [False, False, False, False, True]
        """
        self._waited = self._waited + 1 if score < self.best + self._tol else 0
        self.best = max(self.best, score)
        return self._waited >= self._epochs
