"""A uniform sample of rows that pass by."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["Reservoir"]


class Reservoir:
    """A uniform sample of rows: those with the least of random keys."""

    def __init__(self, size: int, seed: int):
        self._size, self._random = size, np.random.default_rng(seed)
        self._keys, self._rows = np.empty(0), list[Tensor]()
        self._bound = 1.0

    def take(self, rows: Tensor) -> None:
        keys = self._random.random(len(rows))
        places = np.flatnonzero(keys < self._bound)
        self._keys = np.concatenate([self._keys, keys[places]])
        self._rows.append(rows[torch.from_numpy(places).to(rows.device)])
        if len(self._keys) > 2 * self._size:
            self._cut()

    def _cut(self) -> None:
        rows = torch.cat(self._rows)
        if len(rows) > self._size:
            places = np.sort(np.argpartition(self._keys, self._size)[: self._size])
            self._keys, rows = self._keys[places], rows[torch.from_numpy(places).to(rows.device)]
            self._bound = float(self._keys.max())
        self._rows = [rows]

    def rows(self) -> Tensor:
        self._cut()
        return self._rows[0]
