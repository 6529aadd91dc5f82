"""Random units, each with a form of its hardware."""

import random

import numpy as np
from lut_units import random_unit as random_lut_matmul
from random_programs import random_codes, random_program

from hwlut import Direct, Fixed, Multiplier, Pwl, Requantize
from hwlut.fixed import Rounding
from hwlut.units import Symmetry
from hwlut.units.dot import accumulator
from hwlut.units.families import RULES, Family
from hwlut.units.nodes import Extent

__all__ = ["codes", "direct", "lut_matmul", "multiplier", "pwl", "requantize", "rows", "summed"]


def _ends(r, format):
    """An integer of a format, often at its ends or near zero."""
    kind = r.random()
    if kind < 0.2:
        return r.choice([format.min, format.max])
    if kind < 0.3:
        return min(max(r.randrange(-1, 2), format.min), format.max)
    return r.randint(format.min, format.max)


def _numbers(r, format, count):
    """As many integers of a format: of any kind, or all at its ends."""
    if r.random() < 0.15:
        return tuple(r.choice([format.min, format.max]) for _ in range(count))
    return tuple(_ends(r, format) for _ in range(count))


def _form(r, **choices):
    """Some of the options, each one of its choices."""
    return {name: r.choice(values) for name, values in choices.items() if r.random() < 0.4}


def _reset(r):
    return {"reset": "aresetn"} if r.random() < 0.25 else {}


def pwl(r):
    """A table of any shape, with dead segments and breakpoints beyond the codes among them."""
    bits = r.choice([r.randint(2, 10), r.randint(2, 16)])
    symmetry = r.choice([Symmetry.NONE, Symmetry.NONE, *Symmetry])
    input = Fixed(bits, signed=symmetry is not Symmetry.NONE or r.random() < 0.6)
    scales = tuple(sorted(r.sample(range(r.choice([1, 4, 13])), 1)))
    if r.random() < 0.5:
        least = r.randint(0, 4)
        scales = tuple(sorted(r.sample(range(least, least + 7), r.randint(2, 5))))
    segments = r.choice([1, 2, r.randint(1, 9), r.randint(1, 9), r.randint(1, 17), r.randint(1, 64)])
    frac = scales[-1] + r.choice([0, 0, 1, r.randint(0, 6)])
    reach = 1 << (bits + frac - r.choice(scales))
    points = [r.randint(-reach - 2 if input.signed else -2, reach + 2) for _ in range(segments - 1)]
    dead = r.random() * r.choice([0, 0.5])
    points = [r.choice(points) if r.random() < dead else point for point in points]
    slope = Fixed(r.randint(2, r.choice([8, 16])), r.randint(0, 12))
    intercept = Fixed(r.randint(2, r.choice([10, 24])), r.randint(0, 16))
    output = None
    if r.random() < 0.7:
        output = Fixed(r.choice([1, 8, r.randint(1, 24)]), r.choice([None, r.randint(0, 16)]), r.random() < 0.7)
    unit = Pwl(
        input=input, scales=scales, breakpoint_frac=frac, breakpoints=sorted(points), slope=slope,
        slopes=_numbers(r, slope, segments), intercept=intercept, intercepts=_numbers(r, intercept, segments),
        symmetry=symmetry, output=output, rounding=r.choice(list(Rounding)),
    )  # fmt: skip
    form = _form(r, stages=range(1, 6), lanes=[1, 1, 2, 3], comparison=["parallel", "tree"]) | _reset(r)
    if len(scales) > 1 and r.random() < 0.3:
        form["scale"] = r.choice(scales)
    if r.random() < 0.2:
        form["reloadable"] = True
    elif r.random() < 0.2:
        form["multiplier"] = "shift_add"
    return unit, form


def direct(r):
    """A truth table."""
    input = Fixed(r.choice([r.randint(1, 6), r.randint(1, 10)]), r.randint(0, 8), r.random() < 0.5)
    output = Fixed(r.choice([1, 8, r.randint(1, 40), 63]), r.randint(0, 16), r.random() < 0.7)
    unit = Direct(input=input, output=output, values=_numbers(r, output, 1 << input.bits))
    return unit, _form(r, stages=[1, 2]) | _reset(r)


def _requantize(r, input, output, channels):
    multipliers = [r.choice([0, 1, (1 << 31) - 1, r.randrange(1 << r.randint(1, 31))]) for _ in range(channels)]
    shifts = [r.choice([0, 62, r.randint(0, 62), r.randint(8, 40)]) for _ in range(channels)]
    zero = r.choice([min(max(0, output.min), output.max), _ends(r, output)])
    return Requantize(
        input=input, output=output, multipliers=tuple(multipliers), shifts=tuple(shifts), zero_point=zero,
        rounding=r.choice(list(Rounding)),
    )  # fmt: skip


def requantize(r):
    """Of a tensor or of up to eight channels, with the least and greatest constants among them."""
    input = Fixed(r.choice([r.randint(2, 12), r.randint(2, 32), 32]), signed=r.random() < 0.8)
    output = Fixed(r.choice([8, r.randint(1, 32)]), signed=r.random() < 0.6)
    unit = _requantize(r, input, output, r.choice([1, 1, r.randint(2, 8)]))
    return unit, _form(r, stages=[1, 2, 3]) | _reset(r)


def _factor(r, widest):
    return Fixed(r.choice([8, r.randint(2, widest), r.randint(2, 8)]), signed=r.random() < 0.5)


def _gates(r, inputs):
    """Any gates and which nodes are the product."""
    count = r.randint(1, 40)
    gates = [[r.randrange(16), r.randrange(2 + inputs + n), r.randrange(2 + inputs + n)] for n in range(count)]
    return gates, [r.randrange(2 + inputs + count) for _ in range(r.randint(1, 20))]


def _any_multiplier(r, widest=16):
    family = r.choice(list(Family))
    if family is Family.TABLE:
        a, b = (Fixed(r.randint(2, 5), signed=r.random() < 0.5) for _ in "ab")
        numbers = Fixed(r.choice([4, 12, 32]), signed=r.random() < 0.5)
        high = (1 << 31) - 1
        products = np.array(_numbers(r, numbers, 1 << a.bits + b.bits)).clip(-high - 1, high)
        return Multiplier(family=family, a=a, b=b, products=products.reshape(1 << a.bits, 1 << b.bits))
    a, b = _factor(r, widest), _factor(r, widest)
    if family is Family.NETLIST:
        gates, outputs = _gates(r, a.bits + b.bits)
        return Multiplier(family=family, a=a, b=b, gates=gates, outputs=outputs)
    if family is Family.KULKARNI:
        a, b = (Fixed(r.choice([2, 4, 8, 16]), signed=each.signed) for each in (a, b))
    if family is Family.BOOTH_TRUNCATED:
        a, b = Fixed(a.bits, signed=True), Fixed(b.bits + b.bits % 2, signed=True)
    rule = RULES[family]
    ranges = dict(zip(rule.parameters, rule.ranges(a.bits, b.bits)))
    return Multiplier(family=family, a=a, b=b, **{name: r.randint(*ends) for name, ends in ranges.items()})


def multiplier(r):
    """Of any family, parameters, signs and widths."""
    unit = _any_multiplier(r)
    if r.random() < 0.03:
        return unit, {"combinational": True}
    return unit, _form(r, stages=[1, 2, 3]) | _reset(r)


def summed(r):
    """A multiplier that adds up its products, for a Requantize or not."""
    unit = _any_multiplier(r, widest=8)
    lanes = r.choice([1, 1, 2, 3, 4])
    terms = r.choice([1, lanes, r.randint(1, 40), 1000])
    form = {"terms": terms, "lanes": lanes} | _reset(r)
    sums = accumulator(unit, terms + -terms % lanes)
    if sums.bits <= 32 and r.random() < 0.4:
        input = Fixed(min(32, max(2, sums.bits) + r.choice([0, 1, 4])), signed=sums.signed)
        output = Fixed(r.choice([8, r.randint(1, 32)]), signed=r.random() < 0.6)
        form["requantize"] = _requantize(r, input, output, r.choice([1, r.randint(1, 5)]))
    if r.random() < 0.5:
        form["stages"] = r.randint(2 if "requantize" in form else 1, 4)
    return unit, form


def lut_matmul(r):
    """A product by look-ups, small, of odd shapes."""
    v, features = r.randint(1, 6), r.randint(1, 20)
    unit = random_lut_matmul(
        r.randrange(1 << 30), encoder=r.choice(["l2", "l1", "chebyshev", "tree"]), k=r.choice([2, 4, 8, 16]), v=v,
        features=features, outputs=r.randint(1, 9), table_bits=r.choice([4, 8]), ties=r.random() < 0.5,
        bias=r.random() < 0.6, requantize=r.choice([False, True, "channels"]), extreme=r.random() < 0.3,
    )  # fmt: skip
    codebooks = unit.codebooks
    banks = r.randint(1, codebooks)
    encoders = r.choice([each for each in range(1, banks + 1) if banks % each == 0])
    form = {"encoders": encoders, "banks": banks, "tile": r.randint(1, unit.outputs)} if r.random() < 0.7 else {}
    if unit.requantize is None and r.random() < 0.3:
        form["reloadable"] = True
    return unit, form | _reset(r)


def codes(r):
    """A program of codes."""
    return _program(r, Extent.CODES, 1)


def rows(r):
    """A program of rows."""
    return _program(r, Extent.ROWS, r.choice([1, 2, 5, 7]))


def _program(r, extent, places):
    unit = random_program(r, extent, places, nodes=r.choice([3, 8, 12]))
    if unit is None:
        raise ValueError("a draw of which nothing depends on an input")
    if extent is Extent.ROWS:
        unit(*(random_codes(random.Random(0), port, (1, places)) for port in unit.inputs))  # no row of one number
    return unit, _reset(r)
