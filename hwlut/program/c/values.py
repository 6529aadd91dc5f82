"""Numbers as C text."""

import numpy as np

__all__ = ["array", "packed", "real"]

_A_LINE = 24


def array(kind: str, name: str, values: np.ndarray) -> str:
    """The definition of a constant array of `values`, flattened."""
    words = [real(each) if kind == "float" else str(each) for each in values.flatten().tolist()]
    lines = ",\n".join(f"    {', '.join(words[i : i + _A_LINE])}" for i in range(0, len(words), _A_LINE))
    return f"static const {kind} {name}[{len(words)}] = {{\n{lines}\n}};\n"


def real(value: float) -> str:
    """A float32 as the literal that is read as it: nine digits tell every two apart."""
    return f"{value:.8e}f"


def packed(entries: np.ndarray) -> np.ndarray:
    """Four-bit entries [..., M] two a byte, uint8 [..., ceil(M / 2)]: byte j holds entry j, and entry
    j + ceil(M / 2) in its upper half.
    """
    half = (entries.shape[-1] + 1) // 2
    low, high = entries[..., :half] & 15, entries[..., half:] & 15
    held = low.astype(np.uint8)
    held[..., : high.shape[-1]] |= high.astype(np.uint8) << 4
    return held
