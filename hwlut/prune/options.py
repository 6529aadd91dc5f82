"""How a model is pruned and quantized within one training."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hwlut.fields import shorten
from hwlut.prune.saliency import CRITERIA

__all__ = ["Joint", "Lengths", "check_sparsity", "patterns_of", "removed_of"]

_STAGES = ("warm_up", "projection", "joint")
_COUNTS = ("projection_periods", "joint_periods", "calibration")
_BITS = ("weight_bits", "activation_bits")
_NUMBERS = ("frugality", "target", "target_bits")
_PERIODS = 5
_TAYLOR = ("first_taylor", "second_taylor")
_LEAST_BITS, _MOST_BITS = 2, 16


class Lengths(NamedTuple):
    """Steps of each stage."""

    warm_up: int
    projection: int
    joint: int
    cool_down: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Joint:
    """What joint pruning and quantization comes to, and in which stages: QASSO of GETA (CVPR 2025, arXiv 2502.16638).

    Parameters
    ----------
    sparsity: what is removed: a float, from 0 to 1, is a share of all groups, an integer so many of them.
    weight_bits, activation_bits: least and most bits, from 2 to 16, that each operation's quantizer may come to; None
        where these are not quantized.
    warm_up, projection, joint: the first three stages, each a share of all steps, below 1, or an integer number of
        them. The rest is the cool-down.
    projection_periods: in how many equal steps the most bits fall from 16 to what is asked for.
    joint_periods: in how many turns groups are chosen, forgotten and removed, about as many in each. Both are 5 unless
        given, or as many as there are steps.
    saliency: what tells the groups that matter least: criteria of `hwlut.prune.saliency`, those of
        Taylor unless given, and their weights, 1 unless given.
    frugality: power of the multiply-accumulates that go with a group by which its saliency is divided; 0 for none.

    Of `compress` alone, a `JointOptimizer` being given what has them:

    target, target_bits: the most that all operations may cost, as a number, or as what so many bits of what is
        quantized would; see `hwlut.prune.Budget`. Without either, bits are only within their range.
    powers: whether the exponents of weights' quantizers are learned; see `hwlut.quant.RangedQuantizer`.
    keep: patterns of layers whose channels all stay, as of `hwlut.prune.groups`. exclude: patterns of operations that
        are not quantized. calibration: samples by which quantizers start.
    """

    sparsity: float | int = 0.5
    weight_bits: tuple[int, int] | None = (4, 8)
    activation_bits: tuple[int, int] | None = None
    warm_up: float | int = 0.05
    projection: float | int = 0.05
    joint: float | int = 0.2
    projection_periods: int | None = None
    joint_periods: int | None = None
    saliency: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict.fromkeys(_TAYLOR, 1.0))
    frugality: float = 0.5
    target: float | None = None
    target_bits: float | None = None
    powers: bool = False
    keep: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    calibration: int = 100

    def __post_init__(self) -> None:
        check_sparsity("Joint", self.sparsity)
        for name in ("keep", "exclude"):
            object.__setattr__(self, name, patterns_of("Joint", name, getattr(self, name)))
        if not isinstance(self.powers, bool):
            raise TypeError(f"Joint powers must be true or false, not {shorten(self.powers)}")
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None:
                _check(name, value, (int, float), "a number")
                if value < 0:
                    raise ValueError(f"Joint {name} must be at least 0, not {value:g}")
        if self.target is not None and self.target_bits is not None:
            raise ValueError("Joint must be given target or target_bits, not both")
        if self.budgeted and self.weight_bits is None and self.activation_bits is None:
            raise ValueError("Joint target must be left out where nothing is quantized")
        for name in _BITS:
            object.__setattr__(self, name, _range(name, getattr(self, name)))
        for name in _STAGES:
            length = getattr(self, name)
            _check(name, length, (int, float), "a number")
            if length < 0 or (isinstance(length, float) and not length < 1):
                raise ValueError(
                    f"Joint {name} must be a share from 0 to below 1 or an integer number of steps, not"
                    f" {shorten(length)}"
                )
        for name in _COUNTS:
            if getattr(self, name) is None and name != "calibration":
                continue
            _check(name, getattr(self, name), int, "an integer")
            if getattr(self, name) < 1:
                raise ValueError(f"Joint {name} must be at least 1, not {getattr(self, name)}")
        lows = [bits[0] for bits in (self.weight_bits, self.activation_bits) if bits is not None]
        if self.target_bits is not None and lows and self.target_bits < min(lows):
            raise ValueError(
                f"Joint target_bits must be at least the least bits, {min(lows)}, not {self.target_bits:g}"
            )
        object.__setattr__(self, "saliency", _weights(self.saliency))
        if not self.sparsity and self.weight_bits is None and self.activation_bits is None:
            raise ValueError("Joint must be given a sparsity above 0, weight_bits or activation_bits: nothing is asked")

    @property
    def budgeted(self) -> bool:
        """Whether bits have a budget."""
        return self.target is not None or self.target_bits is not None

    @property
    def quantizes(self) -> bool:
        """Whether there are bits to keep in a range."""
        return self.weight_bits is not None or self.activation_bits is not None

    def lengths(self, steps: int) -> Lengths:
        """The stages of a training of so many steps.

        Raises ValueError where they leave no step of cool-down, or where a stage that has something to do has fewer
        steps than periods.
        """
        parts = [getattr(self, name) for name in _STAGES]
        taken = [round(part * steps) if isinstance(part, float) else part for part in parts]
        rest = steps - sum(taken)
        if rest < 1:
            words = ", ".join(f"{name} {length}" for name, length in zip(_STAGES, taken))
            raise ValueError(f"Joint stages must leave a step of cool-down, but take {words} of {steps} steps")
        lengths = Lengths._make((*taken, rest))
        for wanted, stage in ((self.quantizes, "projection"), (self.sparsity, "joint")):
            periods, length = getattr(self, f"{stage}_periods"), getattr(lengths, stage)
            if wanted and not length:
                raise ValueError(f"Joint {stage} must be of a step at least, not of none of {steps}")
            if wanted and periods is not None and periods > length:
                raise ValueError(f"Joint {stage}_periods must be at most the {length} steps of {stage}, not {periods}")
        return lengths

    def ends(self, stage: str, length: int) -> list[int]:
        """Where each period of "projection" or "joint", a stage of so many steps, ends: as equal as they can be."""
        given = getattr(self, f"{stage}_periods")
        periods = min(_PERIODS, max(length, 1)) if given is None else given
        return [round(length * (period + 1) / periods) for period in range(periods)]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the result, as plain JSON."""
        kept = dataclasses.asdict(self)
        listed = (*_BITS, "keep", "exclude")
        return kept | {name: None if kept[name] is None else list(kept[name]) for name in listed}


def check_sparsity(kind: str, sparsity: object) -> None:
    """TypeError or ValueError, naming the kind of options, for what is neither a share nor a number of groups."""
    if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float)):
        raise TypeError(f"{kind} sparsity must be a number, not {shorten(sparsity)}")
    if not 0 <= sparsity or (isinstance(sparsity, float) and not sparsity <= 1):
        raise ValueError(
            f"{kind} sparsity must be a share from 0 to 1 or a positive integer number of groups, not"
            f" {shorten(sparsity)}"
        )


def removed_of(kind: str, sparsity: float | int, groups: int, most: int) -> int:
    """How many of so many groups are to go. ValueError where it is more than `most`, which can."""
    wanted = sparsity if isinstance(sparsity, int) else round(sparsity * groups)
    if wanted > most:
        raise ValueError(
            f"{kind} sparsity must be of at most {most} of the {groups} groups, one of each coupling having to stay,"
            f" not {wanted}"
        )
    return wanted


def patterns_of(kind: str, name: str, given: Any) -> tuple[str, ...]:
    """Patterns as a tuple; TypeError for one text alone."""
    if isinstance(given, str) or not isinstance(given, Iterable) or not all(isinstance(each, str) for each in given):
        raise TypeError(f"{kind} {name} must be a list of patterns, not {shorten(given)}")
    return tuple(given)


def _check(name: str, value: object, kind: Any, words: str) -> None:
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"Joint {name} must be {words}, not {shorten(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"Joint {name} must be finite, not {value}")


def _range(name: str, value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    whole = isinstance(value, (tuple, list)) and len(value) == 2
    if not whole or any(isinstance(bits, bool) or not isinstance(bits, int) for bits in value):
        raise TypeError(f"Joint {name} must be the least and the most bits, or None, not {shorten(value)}")
    low, high = value
    if not _LEAST_BITS <= low <= high <= _MOST_BITS:
        raise ValueError(
            f"Joint {name} must be ascending from {_LEAST_BITS} to {_MOST_BITS}, not {shorten(tuple(value))}"
        )
    return low, high


def _weights(given: Any) -> dict[str, float]:
    """Of each criterion."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"Joint saliency must be criteria, with weights or without, not {shorten(given)}")
    weights = dict(given) if isinstance(given, Mapping) else dict.fromkeys(given, 1.0)
    for name, weight in weights.items():
        if name not in CRITERIA:
            raise ValueError(f"Joint saliency must be of {', '.join(CRITERIA)}, not {shorten(name)}")
        _check(f"saliency {name}", weight, (int, float), "a number")
        if weight < 0:
            raise ValueError(f"Joint saliency {name} must be at least 0, not {weight:g}")
    if not any(weights.values()):
        raise ValueError("Joint saliency must have a criterion with a weight above 0")
    return {name: float(weight) for name, weight in weights.items()}
