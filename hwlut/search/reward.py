"""How quality and cost become one number."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

__all__ = ["REWARDS", "Reward"]

Reward = Callable[[float, float, float], float]
"""Of quality Q (minus the loss), the cost over its target c, and beta: the more the better."""

REWARDS: Mapping[str, Reward] = MappingProxyType(
    {
        "within": lambda q, c, beta: q,
        "tunas_abs": lambda q, c, beta: q - beta * abs(1 - c),
        "one_sided": lambda q, c, beta: q - beta * abs(1 - max(1.0, c)),
        "soft_exponential": lambda q, c, beta: q * c**beta,
        "hard_exponential": lambda q, c, beta: q * max(1.0, c) ** beta,
    }
)
"""Q alone, where only what meets the target is drawn; Q - beta |1 - c|, Bender et al., "Can weight sharing outperform
random architecture search?" (TuNAS, CVPR 2020), and the same above the target alone; Q c^beta and Q max(1, c)^beta,
Tan et al., "MnasNet" (CVPR 2019). As Q is at most 0, a beta above 0 makes cost count against a choice."""
