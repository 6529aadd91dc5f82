"""The result of a decomposition, and its bytes."""

import dataclasses
import hashlib

import numpy as np

__all__ = ["Factors"]

_DTYPES = {"u": np.int8, "v": np.int8, "weights": np.int64, "p": np.int64, "q": np.int64}
_DIMENSIONS = {"u": 2, "v": 2, "weights": 1, "p": 1, "q": 1}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Factors:
    """A table of A x B integers as R products of int8 vectors, one number a row and one a column.

    The entry of row a and column b is ``p[a] + q[b] + sum_t weights[t] * u[t, a] * v[t, b]``, in int64. So a sum of
    entries over k is a sum of p, a sum of q, and R int8 matrix products with int32 accumulation.

    Parameters
    ----------
    u: int8 [R, A]. v: int8 [R, B]. weights: int64 [R]. p: int64 [A]. q: int64 [B]. They are copied and read-only.

    Raises
    ------
    TypeError: an array of another dtype. ValueError: shapes that do not fit each other.
    """

    u: np.ndarray
    v: np.ndarray
    weights: np.ndarray
    p: np.ndarray
    q: np.ndarray

    def __post_init__(self) -> None:
        for key, dtype in _DTYPES.items():
            given = getattr(self, key)
            if not isinstance(given, np.ndarray) or given.dtype != dtype:
                kind = given.dtype if isinstance(given, np.ndarray) else type(given).__name__
                raise TypeError(f"Factors {key} must be an array of {np.dtype(dtype)}, not {kind}")
            if given.ndim != _DIMENSIONS[key]:
                raise ValueError(f"Factors {key} must have {_DIMENSIONS[key]} dimensions, not {given.ndim}")
            held = np.array(given, order="C")
            held.flags.writeable = False
            object.__setattr__(self, key, held)
        expected = ((len(self.weights), len(self.p)), (len(self.weights), len(self.q)))
        if (self.u.shape, self.v.shape) != expected:
            raise ValueError(
                f"Factors u and v must be of shapes {expected[0]} and {expected[1]}, "
                f"not {self.u.shape} and {self.v.shape}"
            )

    @property
    def terms(self) -> int:
        """R, the number of int8 products."""
        return len(self.weights)

    @property
    def bound(self) -> int:
        """No |sum_t weights[t] * u[t, a] * v[t, b]| is above this, nor the sum over any part of the terms."""
        u, v = (np.abs(x.astype(np.int64)).max(axis=1, initial=0).tolist() for x in (self.u, self.v))
        return sum(abs(w) * a * b for w, a, b in zip(self.weights.tolist(), u, v))

    def products(self) -> np.ndarray:
        """The table: int64 [A, B]."""
        kind = np.float64 if self.bound < 1 << 53 else np.int64  # float64 is exact there, and far faster
        weighted = self.u.T.astype(kind) * self.weights.astype(kind)
        return self.p[:, None] + self.q + (weighted @ self.v.astype(kind)).astype(np.int64)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Factors):
            return NotImplemented
        return all(np.array_equal(getattr(self, key), getattr(other, key)) for key in _DTYPES)

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The arrays in safetensors form, after their sha256."""
        from safetensors.numpy import save

        data = save({key: getattr(self, key) for key in _DTYPES})
        return hashlib.sha256(data).digest() + data

    @classmethod
    def from_bytes(cls, data: bytes) -> "Factors":
        """What `to_bytes` gave; ValueError where the bytes are not just that."""
        from safetensors.numpy import load

        digest, data = data[:32], data[32:]
        if hashlib.sha256(data).digest() != digest:
            raise ValueError("factors are damaged: their sha256 is another")
        try:
            return cls(**load(data))
        except Exception as error:  # a file of another kind with a right sha256: safetensors' own errors, and ours
            raise ValueError(f"these bytes are no factors: {error}") from None
