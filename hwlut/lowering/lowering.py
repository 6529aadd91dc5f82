"""A trained model as an integer program, as often as its parameters change."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from hwlut.fields import shorten
from hwlut.fixed import Fixed
from hwlut.lowering import (
    affine,
    elementwise,
    embedding,
    functions,
    given_units,
    layers,
    masks,
    movement,
    padding,
    parts,
    pooling,
    rows,
    rtl_rows,
    transposed,
)
from hwlut.lowering.builder import Builder, TooWideError
from hwlut.lowering.checks import calls_of, check_finite, check_integers, check_same
from hwlut.lowering.fold import folded
from hwlut.lowering.fuse import fused
from hwlut.lowering.numbers import INFINITE, Grid, Number
from hwlut.lowering.stage import Context, Stage
from hwlut.lowering.staging import staged
from hwlut.nn.quantized.choice import FormatChoice
from hwlut.quant.modes import evaluating
from hwlut.units import Program
from hwlut.units.operations import Clamp
from hwlut.units.ports import Port
from hwlut.units.requantize import MULTIPLIER_BITS

__all__ = ["VALUE_BITS", "Lowered", "Lowering", "export"]

_STAGES = (  # registered by being imported
    *(affine, elementwise, embedding, functions, given_units, layers, masks),
    *(movement, padding, parts, pooling, rows, rtl_rows, transposed),
)
VALUE_BITS = 16
_INDEX = Fixed(24, signed=False)
_BYTES = {torch.uint8: Fixed(8, signed=False), torch.int8: Fixed(8)}


@dataclass(frozen=True)
class Lowered:
    """A program, and the numbers of the model that are values of it, by the names of stages' results and of inputs."""

    program: Program
    numbers: Mapping[str, Number]


class Lowering:
    """What `model` computes on inputs like `sample`, stage by stage, to be made into programs.

    sample: what the model is called with; its numbers decide the formats of what no quantizer does: sums, functions,
    softmax, normalization, outputs. They are looked at once; programs are made of the parameters at that time.

    factor_bits, value_bits: as for `export`. stages: in the order in which they run.

    Raises ValueError, by module path, for what no program can express.
    """

    def __init__(self, model: nn.Module, sample: Any, factor_bits: int = MULTIPLIER_BITS, value_bits: int = VALUE_BITS):
        for label, given, most in (
            ("factor_bits", factor_bits, MULTIPLIER_BITS),
            ("value_bits", value_bits, VALUE_BITS),
        ):
            if isinstance(given, bool) or not isinstance(given, int):
                raise TypeError(f"{label} must be an integer, not {shorten(given)}")
            if not 8 <= given <= most:
                raise ValueError(f"{label} must be from 8 to {most}, not {given}")
        self.model = model
        self.sample = sample
        self.factor_bits, self.value_bits = factor_bits, value_bits
        self._modules = _modules_of(model)
        self._staged = staged(model, sample)
        self.stages = fused(self._staged.stages, self._staged.outputs)
        self._named = tuple(sample) if isinstance(sample, dict) else ()
        tensors = self.tensors(((), sample) if self._named else (sample, {}))
        used = {name for stage in self.stages for name in stage.inputs} | set(self.outputs)
        if unused := [name for name in self.inputs if name not in used]:
            raise ValueError(f"input {unused[0]!r} of the model must be used")
        self._given = tuple((tuple(tensor.shape), _integers(tensor.dtype)) for tensor in tensors)
        for name, tensor, (_, integers) in zip(self.inputs, tensors, self._given):
            if integers is not None:
                check_integers(name, integers, tensor)
        with torch.no_grad(), evaluating(model):
            values = self._checked(tensors)
        self.ranges = self._ranges(values)

    def _checked(self, tensors: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Every value of the sample; refused is what is not as in the model.

        What layers give is there the model's own, or their rounding would make much of what is next to nothing.
        """
        layers = {stage.name: stage for stage in self.stages if stage.module is not None}
        counts = Counter(stage.path for stage in layers.values())
        results, calls = calls_of(self.model, self.sample, {stage.path: stage.module for stage in layers.values()})
        waiting = {path: iter(each) for path, each in calls.items() if len(each) == counts[path]}
        noted = {name: next(waiting[stage.path]) for name, stage in layers.items() if stage.path in waiting}
        values = self.real(tensors, lambda name, value: noted[name][1] if name in noted else value)
        check_finite(values, {name: self._where(stage) for stage in self.stages for name in stage.results})
        for name, (given, _) in noted.items():
            check_same(f"{self._where(layers[name])} input", [values[each] for each in layers[name].inputs], given)
        for name, result in zip(self.outputs, results):
            check_same(f"output {name!r}", [values[name]], [result])
        return values

    def tensors(self, call: tuple[Any, dict[str, Any]]) -> list[torch.Tensor]:
        """The tensors among positional and keyword arguments like those of the sample, one an input."""
        arguments, named = call
        if set(named) != set(self._named):
            raise TypeError(
                f"arguments must be those of the sample, not {', '.join(map(str, named)) or 'without names'}"
            )
        leaves = tree_leaves((arguments, [named[key] for key in self._named]))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        if len(tensors) != len(self.inputs):
            raise TypeError(f"arguments must have {len(self.inputs)} tensors, as the sample has, not {len(tensors)}")
        return tensors

    @property
    def current(self) -> bool:
        """Whether the model has the modules that it had, but for quantizers."""
        return _modules_of(self.model) == self._modules

    def of(self, model: nn.Module) -> "Lowering":
        """The same of a copy of the model, with the formats of this one."""
        other = Lowering(model, self.sample, self.factor_bits, self.value_bits)
        other.ranges = self.ranges
        return other

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what the model is called with."""
        return self._staged.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it returns."""
        return self._staged.outputs

    def real(self, inputs: Iterable[torch.Tensor], settle: Any = None) -> dict[str, torch.Tensor]:
        """Every value in real numbers, as the model trains; `settle(name, value)` may put others in their place."""
        # Numbers of 8 bits are images, which models make real numbers of: they must not wrap around before.
        values = {name: each.float() if each.dtype in _BYTES else each for name, each in zip(self.inputs, inputs)}
        for stage in self.stages:
            found = stage.real(*(values[name] for name in stage.inputs))
            for name, each in zip(stage.results, found if isinstance(found, (tuple, list)) else (found,)):
                values[name] = each if settle is None else settle(name, each)
        return values

    def lowered(self, name: str = "network") -> Lowered:
        """The program of the model as it is now."""
        builder = Builder(self.factor_bits, self.value_bits)
        context = Context(builder=builder, ranges=self.ranges, wishes=self._wishes(), value_bits=self.value_bits)
        numbers: dict[str, Number] = {}
        for input, (shape, integers) in zip(self.inputs, self._given):
            numbers[input] = self._input(context, input, shape, integers)
        for stage in self.stages:
            builder.stage = f"{self._where(stage)}: {stage.operation.kind}"
            try:
                found = stage.lower(context, *(numbers[each] for each in stage.inputs))
            except TooWideError:
                raise
            except ValueError as error:
                raise ValueError(f"{self._where(stage)}: {error}") from error
            numbers |= zip(stage.results, found if isinstance(found, tuple) else (found,))
        ends: list[Port] = []
        for each in self.outputs:
            ends.append(self._output(context, each, numbers[each], {port.name for port in (*builder.inputs, *ends)}))
        nodes, changed = folded(builder.nodes, ends)
        program = Program(
            name=name,
            inputs=tuple(builder.inputs),
            nodes=nodes,
            outputs=tuple(ends),
            meta={"model": type(self.model).__name__},
        )
        values = program.spans.keys() - changed
        return Lowered(program, {name: number for name, number in numbers.items() if number.name in values})

    def _takers(self) -> dict[str, list[tuple[Stage, int]]]:
        """For each value the stages that take it, and as which of their inputs."""
        takers: dict[str, list[tuple[Stage, int]]] = {}
        for stage in self.stages:
            for place, name in enumerate(stage.inputs):
                takers.setdefault(name, []).append((stage, place))
        return takers

    def _ranges(self, values: dict[str, torch.Tensor]) -> dict[str, tuple[float, float]]:
        """For each value the lowest and the highest number that counts for what takes it."""
        takers, ranges = self._takers(), dict[str, tuple[float, float]]()
        for name, value in reversed(values.items()):
            ends = []
            for stage, _ in takers.get(name, ()):
                moved = [ranges[each] for each in stage.results] if stage.moves else []
                ends += moved or [_range(stage.counted(value))]
            if name in self.outputs or not ends:
                ends.append(_range(value))
            ranges[name] = _span(ends)
        shared: dict[Any, list[str]] = {}
        for stage in self.stages:
            if stage.rows is not None:
                shared.setdefault(stage.rows, []).append(stage.inputs[0])
        for names in shared.values():
            ranges |= dict.fromkeys(names, _span([ranges[name] for name in names]))
        return ranges

    def _wishes(self) -> dict[str, Grid]:
        """For each value the grid that all that take it want."""
        takers = self._takers()
        wishes: dict[str, Grid] = {}

        def wish(stage: Stage, place: int) -> Grid | None:
            if not stage.moves:
                return stage.wanted(place)
            results = {wishes.get(name) for name in stage.results if name in takers}
            return results.pop() if len(results) == 1 else None

        names = [*self.inputs, *(name for stage in self.stages for name in stage.results)]
        for name in reversed(names):
            wanted = {wish(stage, place) for stage, place in takers.get(name, ())}
            if name not in self.outputs and len(wanted) == 1 and (only := wanted.pop()) is not None:
                wishes[name] = only
        return wishes

    def _where(self, stage: Stage) -> str:
        """The path of the module, of the model itself its name."""
        return stage.path or type(self.model).__name__

    @staticmethod
    def _input(context: Context, name: str, shape: tuple[int, ...], integers: Fixed | None) -> Number:
        if integers is not None:
            value = context.builder.input(Port(name, integers, shape[1:]))
            return Number.on(value, len(shape), Grid(integers, 1.0))
        grid = context.grid(name)
        value = context.builder.input(Port(name, grid.format, shape[1:], _fraction(grid.step), grid.zero))
        return Number.on(value, len(shape), grid)

    def _output(self, context: Context, name: str, number: Number, taken: set[str]) -> Port:
        """The port of a result; what has a port already is once more a value, of another name."""
        grid = context.holding(name)
        try:
            found = context.builder.on(number, grid)
        except TooWideError:
            raise
        except ValueError as error:
            raise ValueError(f"output {name!r}: {error}") from error
        value = found.name
        if value in taken:
            value = context.builder.add(Clamp, f"{value}_again", value, *context.builder.spans[value])
        return Port(value, grid.format, None, _fraction(grid.step))


def export(
    model: nn.Module,
    sample: Any,
    name: str = "network",
    factor_bits: int = MULTIPLIER_BITS,
    value_bits: int = VALUE_BITS,
) -> Program:
    """The integer program of a trained model.

    Parameters
    ----------
    model: whose matrix products and convolutions have integer operands: quantized (`hwlut.nn.quantized`, what searches
        and compressions leave), approximate or looked up. It is taken in evaluation mode, batch normalization folded.
    sample: what it is called with, as in calibration: a batch whose numbers decide the formats of what no quantizer
        does.
    name: of the program.
    factor_bits: 8 to 31, of the multipliers m of requantizations between layers. Fewer make `Requantize` smaller in
        hardware, and its factor exact to a share of 2^-factor_bits.
    value_bits: 8 to 16, of what the sample decides. Fewer make operators of rows, and the lanes of a tile, smaller.

    Raises ValueError, by module path, for what a program cannot express.
    """
    return Lowering(model, sample, factor_bits, value_bits).lowered(name).program


def _span(ends: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """From the lowest to the highest of several ranges."""
    lows, highs = zip(*ends)
    return min(lows), max(highs)


def _fraction(step: float) -> tuple[int, int]:
    """A float32 as a multiplier and a shift."""
    mantissa, exponent = math.frexp(step)
    multiplier, shift = int(math.ldexp(mantissa, 31 - 1)), 30 - exponent
    while multiplier % 2 == 0:
        multiplier, shift = multiplier // 2, shift - 1
    return multiplier, shift


def _integers(dtype: torch.dtype) -> Fixed | None:
    """The format of an input of integers; None for real numbers."""
    if dtype.is_floating_point:
        return None
    return Fixed(1, signed=False) if dtype == torch.bool else _BYTES.get(dtype, _INDEX)


def _modules_of(model: nn.Module) -> dict[str, nn.Module]:
    """By path, without those in choices of a format, which are looked at for each program."""
    named = dict(model.named_modules())
    choices = tuple(f"{path}." for path, module in named.items() if isinstance(module, FormatChoice))
    return {path: module for path, module in named.items() if not path.startswith(choices)}


def _range(value: torch.Tensor) -> tuple[float, float]:
    """The lowest and the highest number, but for those that stand for infinity."""
    finite = value.detach().double()
    finite = finite[finite.abs() < INFINITE]
    return (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 0.0)
