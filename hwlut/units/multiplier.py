"""Multipliers: families by their parameters, product tables, netlists."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hwlut.fields import array, choice, fixed, integer, integers, optional
from hwlut.fixed import Fixed, signed_bits
from hwlut.unit import Resources, Unit
from hwlut.units.codes import checked_codes, result_dtype
from hwlut.units.families import RULES, Family
from hwlut.units.gates import check_gates, gate_outputs

if TYPE_CHECKING:
    import torch

    from hwlut.decomposition import Factors
    from hwlut.units.metrics import Metrics

__all__ = ["BITS", "PAIRS_LIMIT", "STAGES", "Multiplier"]

BITS = (2, 16)
"""Least and most bits of an operand."""

PAIRS_LIMIT = 1 << 24
"""Most pairs of codes of which all products are computed at once."""

STAGES = 2
"""Pipeline registers of the component's default form."""

_TABLE_LIMIT = 1 << 31
_OUTPUTS_LIMIT = 40


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, init=False)
class Multiplier(Unit, schema="hwlut.multiplier/1"):
    """A multiplier of two integers, exact or approximate.

    ``Multiplier(family="drum", bits=8, signed=False, k=4)``; a and b may differ:
    ``Multiplier(family="exact", a=Fixed(8, signed=False), b=Fixed(4))``. Families are defined on unsigned integers and
    computed by sign and magnitude where an operand is signed (|-128| = 128 is a magnitude like the others), but for
    exact, truncate_operands and booth_truncated, which are two's complement throughout.

    Parameters
    ----------
    family: `Family` or its name. `hwlut.units.families` holds the definitions and their sources.
    a, b: formats of the operands, 2 to 16 bits, without a frac.
    bits, signed: shorthand for a and b alike; 8 and False unless given.
    a_drop, b_drop: of truncate_operands: low bits taken as 0.
    columns: of truncate_columns, or_columns, booth_truncated (whose b is recoded): low columns approximated.
    h, v: of broken_array: rows j < h and columns i + j < v are left out.
    k: of drum: leading bits kept. m: of ssm: segment width. low: of loa: low bits that are ORed.
    products: of table: int array [2^a.bits, 2^b.bits], rows a and columns b, both in ascending order of value; held
        as the attribute `entries`.
    gates, outputs: of netlist: rows (truth, x, y) and the nodes that are the product, least significant first. Nodes
        0 and 1 are constants, then come the bits of a and of b, least significant first, and the gates in order; a
        gate is bit x + 2 y of its truth, of nodes before it. The product is two's complement where a or b is signed.

    Raises TypeError and ValueError for impossible values, parameters of another family, and formats that the family
    does not have: kulkarni needs widths that are powers of two, booth_truncated signed operands and even b.
    """

    family: Family = choice(Family)
    a: Fixed = fixed("bits", "signed")
    b: Fixed = fixed("bits", "signed")
    a_drop: int | None = optional(integer(0, 15))
    b_drop: int | None = optional(integer(0, 15))
    columns: int | None = optional(integer(0, 31))
    h: int | None = optional(integer(0, 15))
    v: int | None = optional(integer(0, 31))
    k: int | None = optional(integer(3, 16))
    m: int | None = optional(integer(1, 16))
    low: int | None = optional(integer(0, 31))
    entries: np.ndarray | None = optional(array(2), key="products")
    gates: np.ndarray | None = optional(array(2))
    outputs: tuple[int, ...] | None = optional(integers(0, (1 << 31) - 1))

    def __init__(
        self,
        *,
        bits: int | None = None,
        signed: bool | None = None,
        products: Any = None,
        **given: Any,
    ) -> None:
        names = {field.name: field for field in dataclasses.fields(self)}
        if unknown := sorted(set(given) - set(names)):
            raise TypeError(f"Multiplier has no parameter {unknown[0]!r}")
        if (bits is not None or signed is not None) and given.keys() & {"a", "b"}:
            raise TypeError("Multiplier bits and signed must not be given beside a and b")
        if ("a" in given) != ("b" in given):
            raise TypeError("Multiplier a and b must be given together")
        if "family" not in given:
            raise TypeError("Multiplier family must be given")
        both = Fixed(8 if bits is None else bits, signed=False if signed is None else signed)
        held = {"a": both, "b": both, "meta": {}} | given
        if products is not None:
            held["entries"] = products
        for name, field in names.items():
            object.__setattr__(self, name, held.get(name, field.default))
        self.__post_init__()

    def validate(self) -> None:
        for label, format in (("a", self.a), ("b", self.b)):
            if not BITS[0] <= format.bits <= BITS[1]:
                raise ValueError(f"Multiplier {label} bits must be from {BITS[0]} to {BITS[1]}, not {format.bits}")
        self._check_given()
        if self.family is Family.TABLE:
            self._check_entries()
        elif self.family is Family.NETLIST:
            if not 1 <= len(self.outputs or ()) <= _OUTPUTS_LIMIT:
                raise ValueError(f"Multiplier outputs must be 1 to {_OUTPUTS_LIMIT}, not {len(self.outputs or ())}")
            check_gates(self.gates, self.outputs, self.a.bits + self.b.bits)
        else:
            self._check_parameters()

    def _check_given(self) -> None:
        """Refuse parameters that are missing or of another family."""
        own: tuple[str, ...]
        if self.family is Family.TABLE:
            own = ("products",)
        elif self.family is Family.NETLIST:
            own = ("outputs",) if self.gates is None else ("gates", "outputs")  # wires alone have no gates
        else:
            own = RULES[self.family].parameters
        for name, field in self._fields().items():
            key, given = field.key or name, getattr(self, name) is not None
            if field.optional and given != (key in own):
                must = "must not be" if given else "must be"
                raise ValueError(f"Multiplier {key} {must} given with family {self.family.value}")

    def _check_entries(self) -> None:
        assert self.entries is not None
        wanted = (1 << self.a.bits, 1 << self.b.bits)
        if self.entries.size > PAIRS_LIMIT:
            raise ValueError(f"Multiplier products must be at most {PAIRS_LIMIT}, not {self.entries.size}")
        if self.entries.shape != wanted:
            raise ValueError(f"Multiplier products must be of shape {wanted}, not {self.entries.shape}")
        for end in (int(self.entries.min()), int(self.entries.max())):
            if not -_TABLE_LIMIT <= end < _TABLE_LIMIT:
                raise ValueError(f"Multiplier products must be from -2^31 to 2^31 - 1, not {end}")

    def _check_parameters(self) -> None:
        na, nb = self.a.bits, self.b.bits
        rule = RULES[self.family]
        for name, (least, most) in zip(rule.parameters, rule.ranges(na, nb)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"Multiplier {name} must be from {least} to {most} at {na} x {nb} bits, not {value}")
        if self.family is Family.KULKARNI and (na & (na - 1) or nb & (nb - 1)):
            raise ValueError(f"Multiplier bits must be powers of two with family kulkarni, not {na} and {nb}")
        if self.family is Family.BOOTH_TRUNCATED:
            if not (self.a.signed and self.b.signed):
                raise ValueError("Multiplier a and b must be signed with family booth_truncated")
            if nb % 2:
                raise ValueError(f"Multiplier b bits must be even with family booth_truncated, not {nb}")

    @property
    def parameters(self) -> Mapping[str, int]:
        """The family's parameters by name; empty for a table or a netlist."""
        names = RULES[self.family].parameters if self.family in RULES else ()
        return {name: getattr(self, name) for name in names}

    @property
    def pairs(self) -> int:
        """How many pairs of codes there are."""
        return 1 << (self.a.bits + self.b.bits)

    @property
    def product(self) -> Fixed:
        """Format of the product, proven to hold every one: as wide as both operands together, a bit wider where drum
        rounds up beyond that; or as the table's extremes need, or the netlist's outputs."""
        signed = self.a.signed or self.b.signed
        if self.outputs is not None:
            return Fixed(len(self.outputs), signed=signed)
        if self.entries is not None:
            low, high = int(self.entries.min()), int(self.entries.max())
            signed |= low < 0
            return Fixed(signed_bits(low, high) if signed else max(1, high.bit_length()), signed=signed)
        largest = (max(-format.min, format.max) for format in (self.a, self.b))
        high = RULES[self.family].reach(*largest, (self.a.bits, self.b.bits), **self.parameters)
        needed = signed_bits(-high, high) if signed else high.bit_length()
        return Fixed(max(self.a.bits + self.b.bits, needed), signed=signed)

    def __call__(self, a: "torch.Tensor", b: "torch.Tensor") -> "torch.Tensor":
        """Products of codes of any integer dtypes and of shapes that broadcast: int32 where `product` allows, else
        int64.

        Raises TypeError for other tensors and ValueError for a code outside its operand's format.
        """
        import torch

        a = checked_codes(a, self.a, "Multiplier a")
        b = checked_codes(b, self.b, "Multiplier b")
        return self._product(*torch.broadcast_tensors(a, b)).to(result_dtype(self.product))

    def _product(self, a: Any, b: Any) -> Any:
        """Products of int64 tensors of one shape."""
        if self.entries is not None:
            import torch

            return torch.tensor(self.entries, device=a.device)[a - self.a.min, b - self.b.min].long()
        if self.outputs is not None:
            return gate_outputs(self.gates, self.outputs, (a, self.a.bits), (b, self.b.bits), self.product.signed)
        rule, bits = RULES[self.family], (self.a.bits, self.b.bits)
        if rule.signed or not (self.a.signed or self.b.signed):
            return rule.product(a, b, bits, **self.parameters)
        return a.sign() * b.sign() * rule.product(a.abs(), b.abs(), bits, **self.parameters)

    def products(self) -> "torch.Tensor":
        """Every product: [2^a.bits, 2^b.bits], rows a and columns b, both in ascending order of value.

        Raises ValueError for more than 2^24 pairs.
        """
        import torch

        if self.pairs > PAIRS_LIMIT:
            raise ValueError(f"Multiplier products must be at most 2^24, not 2^{self.a.bits + self.b.bits}")
        return self(torch.arange(self.a.min, self.a.max + 1)[:, None], torch.arange(self.b.min, self.b.max + 1))

    def metrics(self, seed: int = 0) -> "Metrics":
        """Errors against the exact product, over every pair up to 2^24, else over a sample drawn with `seed`."""
        from hwlut.units.metrics import measure

        return measure(self, seed)

    def exact_bound(self, count: int) -> int:
        """A bound on the absolute value of any sum of `count` products, from the product's format."""
        return count * max(-self.product.min, self.product.max)

    def factors(self) -> "Factors":
        """The products as a sum of few int8 products (`hwlut.decomposition`), exact; computed once, kept in the cache.

        Raises ValueError where more pairs than can be tabulated have no factors that follow from the definition.
        """
        from hwlut.units.factors import factors

        return factors(self)

    def cost(self) -> Resources:
        """A table's storage; else the partial-product bits that the family keeps and its other adders; of a netlist,
        gates as adder bits.
        """
        from hwlut.units.multiplier_cost import resources

        return resources(self)
