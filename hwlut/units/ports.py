"""What goes into a program and comes out of it: names, formats, and what codes stand for."""

import dataclasses
import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from hwlut.fields import Field, shorten
from hwlut.fixed import Fixed
from hwlut.names import check_name

__all__ = ["Port", "ports"]

_MOST = 256
_MULTIPLIERS = (1, (1 << 31) - 1)
_SHIFTS = (-128, 192)


@dataclass(frozen=True)
class Port:
    """An input or an output: code c stands for ``(c - zero_point) * multiplier * 2^-shift``.

    Parameters
    ----------
    name: of the value.
    format: of the codes; its frac, where it has one, is the shift, and then the multiplier 1.
    shape: the last dimensions of its tensors, behind any others; None where any shape will do.
    step: (multiplier, shift), 1 to 2^31 - 1 and -128 to 192, which hold any normal float32; None where the format has
        a frac, or where codes are nothing but integers.
    zero_point: the code of zero.
    """

    name: str
    format: Fixed
    shape: tuple[int, ...] | None = None
    step: tuple[int, int] | None = None
    zero_point: int = 0

    def __post_init__(self) -> None:
        label = f"Program port {check_name(self.name, 'Program port name')!r}"
        if not isinstance(self.format, Fixed):
            raise TypeError(f"{label} format must be a Fixed, not {shorten(self.format)}")
        if self.shape is not None:
            object.__setattr__(self, "shape", _integers(f"{label} shape", self.shape))
            if min(self.shape, default=1) < 1:
                raise ValueError(f"{label} shape must be of sizes from 1, not {self.shape}")
        if self.step is not None:
            object.__setattr__(self, "step", step := _integers(f"{label} step", self.step))
            ends = (_MULTIPLIERS, _SHIFTS)
            if len(step) != 2 or not all(low <= part <= high for part, (low, high) in zip(step, ends)):
                raise ValueError(
                    f"{label} step must be a multiplier from 1 to 2^31 - 1 and a shift from -128 to 192, not {step}"
                )
            if self.format.frac is not None:
                raise ValueError(f"{label} step must be left out where the format has a frac, not {step}")
        (zero_point,) = _integers(f"{label} zero_point", (self.zero_point,))
        if not self.format.min <= zero_point <= self.format.max:
            raise ValueError(
                f"{label} zero_point must be from {self.format.min} to {self.format.max}, not {zero_point}"
            )
        object.__setattr__(self, "zero_point", zero_point)

    @property
    def scale(self) -> float:
        """What one step of the codes stands for; 1 where they are nothing but integers."""
        multiplier, shift = self.step or (1, self.format.frac or 0)
        return math.ldexp(multiplier, -shift)

    @property
    def real(self) -> bool:
        """Whether the codes stand for real numbers."""
        return self.step is not None or self.format.frac is not None

    def write(self) -> dict[str, Any]:
        """JSON form: what is not the default."""
        content: dict[str, Any] = {"name": self.name, "bits": self.format.bits, "signed": self.format.signed}
        if self.format.frac is not None:
            content["frac"] = self.format.frac
        if self.shape is not None:
            content["shape"] = list(self.shape)
        if self.step is not None:
            content["step"] = list(self.step)
        return content | ({"zero_point": self.zero_point} if self.zero_point else {})


_KEYS = ("name", "bits", "signed", "frac", "shape", "step", "zero_point")


def _integers(label: str, values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or not all(
        isinstance(value, Integral) and not isinstance(value, bool) for value in values
    ):
        raise TypeError(f"{label} must be integers, not {shorten(values)}")
    return tuple(map(int, values))


class _Ports(Field):
    """Ports, in files a list of objects."""

    def coerce(self, label: str, value: Any) -> tuple[Port, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"{label} must be a sequence of ports, not {shorten(value)}")
        if not 1 <= len(value) <= _MOST:
            raise ValueError(f"{label} must be from 1 to {_MOST}, not {len(value)}")
        found = tuple(self._port(f"{label}[{index}]", item) for index, item in enumerate(value))
        if len({port.name for port in found}) < len(found):
            raise ValueError(f"{label} names must differ, not {', '.join(port.name for port in found)}")
        return found

    @staticmethod
    def _port(label: str, value: Any) -> Port:
        if isinstance(value, Port):
            return value
        if not isinstance(value, dict):
            raise TypeError(f"{label} must be a port, not {shorten(value)}")
        if not {"name", "bits", "signed"} <= set(value) <= set(_KEYS):
            raise ValueError(f"{label} keys must be {', '.join(_KEYS)}, not {shorten(', '.join(map(str, value)))}")
        given = dict(value)
        format = Fixed(given.pop("bits"), given.pop("frac", None), given.pop("signed"))
        return Port(format=format, **given)

    def write(self, value: tuple[Port, ...], path: str = "") -> list[dict[str, Any]]:
        return [port.write() for port in value]


def ports() -> Any:
    """Inputs or outputs of a program."""
    return dataclasses.field(metadata={"field": _Ports()})
