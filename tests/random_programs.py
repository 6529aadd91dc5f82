"""Programs of codes and rows drawn at random, and codes for them."""

import numpy as np
import torch

from hwlut import Direct, Fixed, Program, Pwl, Requantize
from hwlut.units import operations as op
from hwlut.units.nodes import Extent, format_of
from hwlut.units.ports import Port
from hwlut.units.reductions import Entries, Maximum, Sum

ROUNDINGS = ("half_up", "half_even", "floor")
SYMMETRIES = ("none", "identity", "odd", "even", "complement")
RANGES = {
    torch.uint8: (0, 255),
    torch.int8: (-128, 127),
    torch.int16: (-(1 << 15), (1 << 15) - 1),
    torch.int32: (-(1 << 31), (1 << 31) - 1),
    torch.int64: (-(1 << 63), (1 << 63) - 1),
}
WIDEST = 1 << 59


def random_unit(r, input):
    """A unit of one code of the format `input`."""
    kinds = ["requantize"] + ["direct"] * (input.bits <= 10) + ["pwl", "pwl"] * (input.bits <= 20)
    kind, rounding = r.choice(kinds), r.choice(ROUNDINGS)
    if kind == "requantize":
        output = Fixed(r.choice([8, 16, 32]), signed=r.random() < 0.7)
        return Requantize(
            input=input, output=output, multipliers=(r.randrange(1 << r.choice([4, 16, 31])),), rounding=rounding,
            shifts=(r.choice([0, 1, 8, 20, 31, 62]),), zero_point=r.randrange(-3 if output.signed else 0, 4),
        )  # fmt: skip
    if kind == "direct":
        values = tuple(r.randrange(-2048, 2048) for _ in range(1 << input.bits))
        return Direct(input=Fixed(input.bits, 0, input.signed), output=Fixed(12, 0), values=values)
    segments, frac = r.choice([1, 2, 5, 20]), r.randrange(5)
    return Pwl(
        input=input, scales=(r.randrange(frac + 1),), breakpoint_frac=frac,
        breakpoints=tuple(sorted(r.randrange(input.min, input.max + 1) for _ in range(segments - 1))),
        slope=Fixed(8, r.randrange(7)), slopes=tuple(r.randrange(-128, 128) for _ in range(segments)),
        intercept=Fixed(10, r.randrange(7)), intercepts=tuple(r.randrange(-512, 512) for _ in range(segments)),
        symmetry=r.choice(SYMMETRIES) if input.signed else "none", rounding=rounding,
        output=r.choice([None, Fixed(8, 3), Fixed(20, 6)]),
    )  # fmt: skip


class _Draft:
    """Nodes drawn one after the other; those that cannot be are left out."""

    def __init__(self, r, ports, extent, places, depth):
        self.r, self.extent, self.places, self.depth = r, extent, places, depth
        self.spans = {port.name: (port.format.min, port.format.max) for port in ports}
        self.nodes = []

    def value(self):
        return self.r.choice(list(self.spans)[-8:])

    def add(self, node):
        try:
            span = node.span(*(self.spans[operand] for operand in node.operands))
        except ValueError:
            return
        if -WIDEST <= span[0] and span[1] < WIDEST:
            self.spans[node.name] = span
            self.nodes.append(node)

    def drawn(self):
        """Draws a node or two."""
        r, name, v = self.r, f"n{len(self.nodes)}", self.value
        kinds = ["binary"] * 4 + ["constant", "select", "clamp", "bits", "leading", "by"] + ["shift", "unit"] * 2
        kinds += ["reduction", "reduction", "entries"] * (self.extent is Extent.ROWS) + ["program"] * self.depth
        kind = r.choice(kinds)
        if kind == "binary":
            self.add(r.choice([op.Add, op.Subtract, op.Multiply, op.Less, op.Equal])(name, v(), v()))
        elif kind == "constant":
            self.add(op.Constant(name, r.choice([0, 1, 3, 7, -5, 1000, 1 << 33])))
        elif kind == "select":
            self.add(op.Select(name, v(), v(), v()))
        elif kind == "clamp":
            self.add(op.Clamp(name, v(), *sorted(r.randrange(-3000, 3000) for _ in range(2))))
        elif kind == "bits":
            self.add(op.Bits(name, v(), r.randrange(10), r.randrange(1, 12)))
        elif kind == "leading":
            self.add(op.LeadingOne(name, v()))
        elif kind in ("by", "shift"):
            self.shift(name, kind == "by")
        elif kind == "reduction":
            self.add(r.choice([Sum(name, v(), 300), Maximum(name, v())]))
        elif kind == "entries":
            count = r.choice([1, self.places])
            self.add(Entries(name, np.array([r.randrange(-200, 200) for _ in range(count)])))
        else:
            self.unit(name, kind == "program")

    def shift(self, name, varies):
        r, of, by = self.r, self.value(), f"{name}_by"
        if varies:
            self.add(op.Clamp(by, self.value(), r.choice([0, 1]), r.choice([3, 20, 30, 31, 62])))
        else:
            self.add(op.Constant(by, r.choice([0, 1, 2, 5, 13, 31, 32, 40, 62])))
        if by in self.spans:
            self.add(r.choice([op.ShiftLeft(name, of, by), op.ShiftRight(name, of, by, r.choice(ROUNDINGS))]))

    def unit(self, name, program):
        of = self.value()
        format = format_of(self.spans[of])
        if not 2 <= format.bits <= 32:
            return
        unit = random_unit(self.r, format)
        if program:
            ports = (Port("q", Fixed(format.bits, 0, format.signed)),)
            extent = self.r.choice([Extent.CODES, self.extent])
            unit = random_program(self.r, extent, self.places, 5, self.depth - 1, ports)
        if unit is not None:
            self.add(op.Apply(name, of, unit))

    def ends(self):
        """Values that nothing takes."""
        used = {operand for node in self.nodes for operand in node.operands}
        return [name for name in self.spans if name not in used]


def random_program(r, extent, places=7, nodes=12, depth=1, ports=None):
    """A program, or None where the draw made none; of given `ports`, one with a single output that has a frac."""
    single = ports is not None
    if ports is None:
        formats = [
            Fixed(r.choice([2, 4, 8, 12, 16, 24]), None, signed=r.random() < 0.7) for _ in range(r.randrange(1, 4))
        ]
        ports = tuple(Port(f"x{i}", format) for i, format in enumerate(formats))
    draft = _Draft(r, ports, extent, places, depth)
    for _ in range(40 * nodes):
        if len(draft.nodes) >= nodes:
            break
        draft.drawn()
    while single and len(draft.ends()) > 1:
        draft.add(op.Less(f"joined{len(draft.nodes)}", *draft.ends()[:2]))
    ends = draft.ends()
    if any(port.name in ends for port in ports):
        return None
    outputs = []
    for name in ends:
        format = format_of(draft.spans[name])
        outputs.append(Port(name, Fixed(format.bits, 0 if single else None, format.signed)))
    return Program(inputs=ports, nodes=tuple(draft.nodes), outputs=tuple(outputs))


def random_codes(r, port, shape):
    """Codes of the port's format, a third of them at its ends, of any dtype that holds it."""
    format, generator = port.format, torch.Generator().manual_seed(r.randrange(1 << 30))
    codes = torch.randint(format.min, format.max + 1, shape, generator=generator)
    ends = torch.tensor([format.min, format.max, 1])[torch.randint(0, 3, shape, generator=generator)]
    codes = torch.where(torch.rand(shape, generator=generator) < 0.3, ends, codes)
    return codes.to(r.choice([d for d, (low, high) in RANGES.items() if low <= format.min and format.max <= high]))
