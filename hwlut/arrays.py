"""Files of arrays, read without trust: their headers are checked before memory is taken for what they declare."""

import contextlib
import re
from collections.abc import Iterator

import numpy as np

from hwlut.fields import shorten

__all__ = ["parse_npy", "refusing_safetensors"]

_HEADER = re.compile(
    rb"\x93NUMPY(?:\x01\x00(?P<short>..)|[\x02\x03]\x00(?P<long>....))"
    rb"\{'descr': '([<>|=][A-Za-z][0-9]{0,4})', 'fortran_order': (True|False), "
    rb"'shape': \(([0-9]{0,20}(?:, ?[0-9]{1,20})*,?)\), \} *\n",
    re.DOTALL,
)
_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
_MOST_DIMENSIONS = 32


def parse_npy(data: bytes) -> np.ndarray:
    """The array of numbers in a .npy file of this content; ValueError for anything else.

    The header is read here: numpy's reader evaluates it, and takes memory as it says.
    """
    found = _HEADER.match(data)
    if not found:
        raise ValueError("not a numpy file of an array: its header must be as numpy writes it")
    size = int.from_bytes(found["short"] or found["long"], "little")
    described, fortran, sides = (part.decode() for part in found.groups()[2:])
    if 10 + 2 * (found["short"] is None) + size != found.end():
        raise ValueError("not a numpy file of an array: its header must be as long as it says")
    if described[1:] not in _NUMBERS:
        raise ValueError(f"the array must be of real numbers, not of {described!r}")
    dtype = np.dtype(described)
    shape = tuple(int(side) for side in re.findall("[0-9]+", sides))
    if len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"the array must have at most {_MOST_DIMENSIONS} dimensions, not {len(shape)}")
    needed = dtype.itemsize
    for side in shape:
        needed *= side
    content = memoryview(data)[found.end() :]
    if len(content) != needed:
        raise ValueError(f"the array of shape {shorten(shape)} must be {shorten(needed)} bytes, not {len(content)}")
    held = np.frombuffer(content, dtype, count=needed // dtype.itemsize)
    return held.reshape(shape, order="F" if fortran == "True" else "C").astype(dtype.newbyteorder("="))


@contextlib.contextmanager
def refusing_safetensors(*others: type[Exception]) -> Iterator[None]:
    """What reading a damaged .safetensors file within raises, and `others`, as a ValueError of one line."""
    from safetensors import SafetensorError

    # KeyError: numbers of a type that numpy or torch lacks.
    refused: tuple[type[Exception], ...] = (SafetensorError, KeyError, *others)
    try:
        yield
    except refused as error:
        raise ValueError(shorten(str(error))[1:-1]) from None
