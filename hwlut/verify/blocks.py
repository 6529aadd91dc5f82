"""Codes to beats and back, whole arrays at a time: what is sent to a design in a training loop."""

from dataclasses import dataclass

import numpy as np

from hwlut.fixed import Fixed
from hwlut.verify.beats import Stream

__all__ = ["Block"]


@dataclass(frozen=True)
class Block:
    """The fields of a stream that hold the lanes' numbers: all of one format.

    stream: its name. names: of the fields. format: of the numbers. places: the first byte of each in a beat.
    """

    stream: str
    names: tuple[str, ...]
    format: Fixed
    places: tuple[int, ...]

    @classmethod
    def of(cls, stream: Stream, name: str | None = None) -> "Block":
        """The field `name`, or the fields of `name` and a number; without a name every field. ValueError for none, and
        for fields of several formats.
        """
        found = {field["name"]: (field, first) for field, first, _ in stream.places()}
        names = list(found) if name is None else [name]
        if name is not None and name not in found:
            names = [f"{name}{lane}" for lane in range(len(found)) if f"{name}{lane}" in found]
        if not names:
            asked = "a field" if name is None else f"a field {name}, or {name}0 and so on"
            raise ValueError(f"{stream.name} must have {asked}, not {', '.join(found) or 'none'}")
        formats = [Fixed(found[name][0]["bits"], signed=found[name][0]["signed"]) for name in names]
        if len(set(formats)) > 1:
            raise ValueError(f"{stream.name} must have fields {names[0]} to {names[-1]} of one format, not of several")
        return cls(stream.name, tuple(names), formats[0], tuple(found[name][1] for name in names))

    @property
    def bytes(self) -> int:
        """Bytes of a field."""
        return (self.format.bits + 7) // 8

    def put(self, beats: np.ndarray, codes: np.ndarray) -> None:
        """Write integers [beats, lanes] of any type, held by the format, into beats, uint8 [beats, bytes]."""
        if codes.itemsize < self.bytes:
            codes = codes.astype("<i8")
        parts = np.ascontiguousarray(codes).view(np.uint8).reshape(*codes.shape, codes.itemsize)[..., : self.bytes]
        if self._together:
            first = self.places[0]
            beats[:, first : first + len(self.places) * self.bytes] = parts.reshape(
                len(codes), len(self.places) * self.bytes
            )
            return
        for lane, first in enumerate(self.places):
            beats[:, first : first + self.bytes] = parts[:, lane]

    def get(self, beats: np.ndarray) -> np.ndarray:
        """The integers of beats, uint8 [beats, bytes], padding included: int32 or int64 [beats, lanes]."""
        kind = np.dtype(f"<{'i' if self.format.signed else 'u'}{4 if self.bytes <= 4 else 8}")
        wide = np.zeros((len(beats), len(self.places), kind.itemsize), np.uint8)
        top = kind.itemsize - self.bytes  # shifted down again, which spreads the sign
        for byte in range(self.bytes):
            if self._together:
                first = self.places[0] + byte
                wide[..., top + byte] = beats[:, first : first + len(self.places) * self.bytes : self.bytes]
            else:
                wide[..., top + byte] = beats[:, [first + byte for first in self.places]]
        values = wide.view(kind)[..., 0] >> 8 * top
        if kind.itemsize == 8:
            return values.view(np.int64)
        return values.view(np.int32) if self.format.signed or top else values.astype(np.int64)

    @property
    def _together(self) -> bool:
        return all(b - a == self.bytes for a, b in zip(self.places, self.places[1:]))
