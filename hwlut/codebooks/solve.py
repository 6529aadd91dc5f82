"""Symmetric positive definite systems too large for a factorization."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["conjugate_gradients"]

_ITERATIONS = 10_000


def conjugate_gradients(apply: Callable[[Tensor], Tensor], right: Tensor, diagonal: Tensor, accuracy: float) -> Tensor:
    """The x of ``apply(x) = right``, float64 [n, M], each column until what is left of it is `accuracy` of its norm.

    `apply` multiplies with the matrix, whose diagonal [n] serves as preconditioner. (Hestenes and Stiefel, "Methods of
    Conjugate Gradients for Solving Linear Systems", 1952.) Raises ArithmeticError where 10,000 iterations do not do.
    """
    x, left = torch.zeros_like(right), right.clone()
    scaled = left / diagonal[:, None]
    direction, power = scaled, (left * scaled).sum(0)
    enough = accuracy * right.norm(dim=0)
    for _ in range(_ITERATIONS):
        if bool((left.norm(dim=0) <= enough).all()):
            return x
        image = apply(direction)
        # A column that is solved has no direction left, and stays.
        step = power / (direction * image).sum(0).clamp(min=torch.finfo(power.dtype).tiny)
        x = x + step * direction
        left = left - step * image
        scaled = left / diagonal[:, None]
        before, power = power, (left * scaled).sum(0)
        direction = scaled + power / before.clamp(min=torch.finfo(power.dtype).tiny) * direction
    raise ArithmeticError(f"conjugate gradients must converge within {_ITERATIONS} iterations")
