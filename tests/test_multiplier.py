"""Multipliers: families against published figures and plain-int definitions, tables, netlists, files."""

import itertools
import math
import pickle

import numpy as np
import pytest
import torch

import hwlut
from hwlut import Fixed, Multiplier
from hwlut.units import Family
from hwlut.units.families import RULES

# MED, WCE, EP %, MRED % over all pairs of 8-bit codes, as published or counted by others.
PUBLISHED = [
    (dict(family="truncate_operands", a_drop=2, b_drop=2), 380.25, 1521, 93.16, 7.00),
    (dict(family="truncate_operands", a_drop=3, b_drop=3), 880.25, 3521, 97.75, 14.12),
    (dict(family="truncate_operands", a_drop=4, b_drop=4), 1856.25, 7425, 98.88, 25.41),
    (dict(family="truncate_columns", columns=4), 12.25, 49, 81.25, 0.564),
    (dict(family="truncate_columns", columns=6), 80.25, 321, 93.75, 2.638),
    (dict(family="truncate_columns", columns=8), 448.25, 1793, 98.05, 9.780),
    (dict(family="broken_array", h=0, v=5), 32.25, 129, 89.06, 1.263),
    (dict(family="broken_array", h=2, v=5), 208.25, 833, 91.89, 4.205),
    (dict(family="broken_array", h=3, v=7), 544.25, 2177, 97.31, 9.862),
    (dict(family="broken_array", h=4, v=8), 1152.25, 4609, 98.46, 17.60),
    (dict(family="kulkarni"), 903.125, 14450, 46.73, 3.280),
    (dict(family="mitchell"), 606.398, 4096, 93.09, 3.788),
    (dict(family="drum", k=3), 1847.05, 14849, 98.78, 12.10),
    (dict(family="drum", k=4), 925.86, 7425, 97.72, 5.89),
    (dict(family="drum", k=5), 465.18, 3904, 94.58, 2.84),
    (dict(family="drum", k=6), 232.83, 2000, 85.43, 1.30),
    (dict(family="ssm", m=4), 1743.53, 7425, 97.85, 14.90),
    (dict(family="ssm", m=5), 771.56, 3521, 93.91, 5.55),
    (dict(family="ssm", m=6), 285.61, 1521, 80.42, 1.62),
    (dict(family="roba"), 455.056, 4096, 93.09, 2.862),
    (dict(family="loa", low=4), 2.156, 16, 31.64, 0.067),
    (dict(family="loa", low=6), 15.53, 88, 59.20, 0.354),
    (dict(family="loa", low=8), 84.46, 440, 78.98, 1.356),
    (dict(family="or_columns", columns=6), 32.84, 258, 59.89, 0.684),
    (dict(family="or_columns", columns=8), 230.19, 1538, 79.96, 2.949),
    (dict(family="booth_truncated", columns=4, signed=True), 9.5, 27, 81.25, 1.82),
    (dict(family="booth_truncated", columns=6, signed=True), 61.5, 171, 93.75, 10.24),
    (dict(family="booth_truncated", columns=8, signed=True), 341.5, 939, 98.05, 48.4),
    # Published circuits that are operand truncations: mul8s_1KVM, 1KXF, 1L2L of EvoApproxLib. Its MAE %, WCE % are
    # of 2^16: 0.0488 %, 0.195 % and so on, here as counts.
    (dict(family="truncate_operands", a_drop=1, b_drop=0, signed=True), 32.0, 128, 49.80, 2.40),
]


def spelled(parameters):
    return "-".join(str(value) for value in parameters.values())


def digits(figure):
    """Half a unit of the last digit printed."""
    return 0.51 * 10.0 ** -len(str(figure).partition(".")[2])


@pytest.mark.parametrize("parameters, med, wce, ep, mred", PUBLISHED, ids=[spelled(row[0]) for row in PUBLISHED])
def test_published_metrics(parameters, med, wce, ep, mred):
    metrics = Multiplier(**parameters).metrics()
    assert metrics.exhaustive and metrics.pairs == 65536
    assert metrics.med == pytest.approx(med, abs=digits(med))
    assert metrics.wce == wce
    assert 100 * metrics.ep == pytest.approx(ep, abs=0.0051)
    assert 100 * metrics.mred == pytest.approx(mred, abs=max(digits(mred), 0.0051 if mred >= 1 else 0))


def parameters_of(family, na, nb):
    rule = RULES[family]
    return [dict(zip(rule.parameters, values)) for values in itertools.product(*map(span, rule.ranges(na, nb)))]


def span(ends):
    low, high = ends
    return range(low, min(high, low + 20) + 1)


def small_formats():
    for na, nb in [(2, 2), (4, 4), (4, 2), (3, 5)]:
        for signs in itertools.product((False, True), repeat=2):
            yield Fixed(na, signed=signs[0]), Fixed(nb, signed=signs[1])


def small_units(family):
    """Every parameter at a few small formats that the family has."""
    for a, b in small_formats():
        if family is Family.KULKARNI and 3 in (a.bits, b.bits):
            continue
        if family is Family.BOOTH_TRUNCATED and not (a.signed and b.signed and b.bits % 2 == 0):
            continue
        for parameters in parameters_of(family, a.bits, b.bits):
            yield Multiplier(family=family, a=a, b=b, **parameters)


def as_bits(value, width):
    return [(value >> place) & 1 for place in range(width)]


def plain(unit, a, b):
    """The definition again, one pair at a time, from bits and powers of Python's ints."""
    family, na, nb = unit.family, unit.a.bits, unit.b.bits
    if family is Family.EXACT:
        return a * b
    if family is Family.TRUNCATE_OPERANDS:
        return (a // 2**unit.a_drop * 2**unit.a_drop) * (b // 2**unit.b_drop * 2**unit.b_drop)
    if family is Family.BOOTH_TRUNCATED:
        bits = [0, *as_bits(b, nb)]
        recoded = [bits[i] + bits[i + 1] - 2 * bits[i + 2] for i in range(0, nb, 2)]
        step = 2**unit.columns
        return sum(math.floor(digit * a * 4**i / step) * step for i, digit in enumerate(recoded))
    sign = (-1 if a < 0 else 1) * (-1 if b < 0 else 1)
    return sign * plain_magnitude(unit, abs(a), abs(b), na, nb)


def plain_magnitude(unit, a, b, na, nb):
    family = unit.family
    bits = {(i, j): x & y for i, x in enumerate(as_bits(a, na)) for j, y in enumerate(as_bits(b, nb))}
    if family is Family.TRUNCATE_COLUMNS:
        return sum(bit << (i + j) for (i, j), bit in bits.items() if i + j >= unit.columns)
    if family is Family.BROKEN_ARRAY:
        return sum(bit << (i + j) for (i, j), bit in bits.items() if i + j >= unit.v and j >= unit.h)
    if family is Family.OR_COLUMNS:
        columns = [[bit for (i, j), bit in bits.items() if i + j == c] for c in range(na + nb - 1)]
        return sum((max(column) if c < unit.columns else sum(column)) << c for c, column in enumerate(columns))
    if family is Family.KULKARNI:
        blocks = itertools.product(range(0, na, 2), range(0, nb, 2))
        return sum((7 if x == y == 3 else x * y) << (i + j) for i, j in blocks for x, y in [(a >> i & 3, b >> j & 3)])
    if family is Family.MITCHELL:
        if not a or not b:
            return 0
        k1, k2 = math.floor(math.log2(a)), math.floor(math.log2(b))
        s = a / 2**k1 - 1 + b / 2**k2 - 1
        return math.floor(2 ** (k1 + k2) * (1 + s)) if s < 1 else math.floor(2 ** (k1 + k2 + 1) * s)
    if family is Family.DRUM:
        return math.prod(x if x < 2**unit.k else kept(x, unit.k) for x in (a, b))
    if family is Family.SSM:
        widths = [(a, na), (b, nb)]
        return math.prod(x if x < 2**unit.m else x >> (n - unit.m) << (n - unit.m) for x, n in widths)
    if family is Family.ROBA:
        near_a, near_b = nearest(a), nearest(b)
        return near_a * b + near_b * a - near_a * near_b
    assert family is Family.LOA
    total = 0
    for j in range(nb):
        row = a * (b >> j & 1) << j
        total = or_adder(total, row, unit.low) if j else row
    return total


def kept(x, k):
    text = f"{x:b}"
    return int(text[: k - 1] + "1" + "0" * (len(text) - k), 2)


def nearest(x):
    if x in (0, 3):
        return {0: 0, 3: 2}[x]
    powers = [2**n for n in range(18)]
    return max(power for power in powers if abs(power - x) == min(abs(other - x) for other in powers))


def or_adder(x, y, low):
    mask = 2**low - 1
    carry = (x >> (low - 1) & y >> (low - 1) & 1) if low else 0
    return ((x >> low) + (y >> low) + carry << low) + ((x | y) & mask)


@pytest.mark.parametrize("family", RULES, ids=lambda family: family.value)
def test_every_small_product(family):
    count = 0
    for unit in small_units(family):
        products = unit.products().tolist()
        for row, a in zip(products, range(unit.a.min, unit.a.max + 1)):
            assert row == [plain(unit, a, b) for b in range(unit.b.min, unit.b.max + 1)], unit
        assert unit.product.min <= min(map(min, products)) and max(map(max, products)) <= unit.product.max
        count += 1
    assert count >= 1


@pytest.mark.parametrize("width", [8, 12, 16])
@pytest.mark.parametrize("signs", [(False, False), (True, True), (False, True)], ids=str)
def test_wide_products(width, signs):
    rng = np.random.default_rng(width)
    a, b = (Fixed(width, signed=signed) for signed in signs)
    pairs = [[f.min, f.max, 0, 1, *rng.integers(f.min, f.max, 9, endpoint=True).tolist()] for f in (a, b)]
    for family in RULES:
        if (
            family is Family.BOOTH_TRUNCATED
            and not (a.signed and b.signed)
            or family is Family.KULKARNI
            and width == 12
        ):
            continue
        for parameters in parameters_of(family, width, width)[:: 2 + width]:
            unit = Multiplier(family=family, a=a, b=b, **parameters)
            results = unit(torch.tensor(pairs[0])[:, None], torch.tensor(pairs[1]))
            assert results.dtype == (
                torch.int32 if unit.product.bits + (not unit.product.signed) <= 32 else torch.int64
            )
            wanted = [[plain(unit, x, y) for y in pairs[1]] for x in pairs[0]]
            assert results.tolist() == wanted, unit
            assert unit.product.min <= min(map(min, wanted)) and max(map(max, wanted)) <= unit.product.max


def test_product_formats():
    assert Multiplier(family="drum", k=3, a=Fixed(8), b=Fixed(8, signed=False)).product == Fixed(17)  # 160 * 224
    assert Multiplier(family="drum", k=3, signed=True).product == Fixed(16)
    assert Multiplier(family="exact", a=Fixed(8), b=Fixed(4, signed=False)).product == Fixed(12)
    assert Multiplier(family="roba").product == Fixed(16, signed=False)


def test_codes_of_any_kind():
    unit = Multiplier(family="drum", k=4, a=Fixed(8, signed=False), b=Fixed(4))
    a, b = torch.tensor([[200], [3]], dtype=torch.uint8), torch.tensor([-8, 7, 0], dtype=torch.int8)
    assert unit(a, b).tolist() == [[plain(unit, x, y) for y in (-8, 7, 0)] for x in (200, 3)]
    assert unit(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)).shape == (0,)
    with pytest.raises(ValueError, match=r"^Multiplier a codes must be from 0 to 255, not 256$"):
        unit(torch.tensor(256), torch.tensor(0))
    with pytest.raises(ValueError, match=r"^Multiplier b codes must be from -8 to 7, not 8$"):
        unit(torch.tensor(0), torch.tensor(8))
    with pytest.raises(
        TypeError, match=r"^Multiplier a codes must be uint8, int8, int16, int32 or int64, not torch.fl"
    ):
        unit(torch.tensor(1.0), torch.tensor(1))


def test_tables(tmp_path):
    rng = np.random.default_rng(0)
    products = rng.integers(-(2**31), 2**31, (16, 8))
    unit = Multiplier(family="table", a=Fixed(4), b=Fixed(3, signed=False), products=products, name="mine")
    assert unit.products().tolist() == products.tolist()
    assert unit(torch.tensor(-8), torch.tensor(0)).item() == products[0, 0]
    assert unit(torch.tensor(7), torch.tensor(7)).item() == products[15, 7]
    assert unit.product == Fixed(32, signed=True)
    for given in (unit, unit.replace(products=np.tile(products, (1, 1)) // 2), pickle.loads(pickle.dumps(unit))):
        assert hwlut.load(given.save(tmp_path / "mine.json")) == given
    assert unit.replace(products=products // 2) != unit
    unsigned = Multiplier(family="table", bits=2, products=np.arange(16).reshape(4, 4))
    assert unsigned.product == Fixed(4, signed=False)


def test_large_tables_lie_beside_the_json(tmp_path):
    products = Multiplier(family="mitchell").products().numpy()
    unit = Multiplier(family="table", bits=8, products=products, name="bulky")
    path = unit.save(tmp_path / "bulky.json")
    assert path.stat().st_size < 1000 and (tmp_path / "bulky.safetensors").stat().st_size > 131072
    assert '"products": {"key": "products", "shape": [256, 256], "dtype": "int32"' in path.read_text()
    assert hwlut.load(path) == unit
    (tmp_path / "bulky.safetensors").unlink()
    with pytest.raises(ValueError, match=r"bulky.safetensors: no such file$"):
        hwlut.load(path)


# Two bits by two, by half adders: (truth, x, y) with nodes 2, 3 of a and 4, 5 of b.
HALF_ADDERS = [[8, 2, 4], [8, 3, 4], [8, 2, 5], [8, 3, 5], [6, 7, 8], [8, 7, 8], [6, 9, 11], [8, 9, 11]]


def test_netlists(tmp_path):
    unit = Multiplier(family="netlist", bits=2, gates=HALF_ADDERS, outputs=[6, 10, 12, 13], name="wired")
    assert unit.products().tolist() == [[a * b for b in range(4)] for a in range(4)]
    assert hwlut.load(unit.save(tmp_path / "wired.json")) == unit
    wires = Multiplier(family="netlist", a=Fixed(2), b=Fixed(2, signed=False), outputs=[0, 4, 3])
    assert wires.products().tolist() == [[2 * (b & 1) - 4 * (a < 0) for b in range(4)] for a in range(-2, 2)]


@pytest.mark.parametrize("truth", range(16))
def test_every_gate(truth):
    unit = Multiplier(family="netlist", bits=2, gates=[[truth, 2, 4]], outputs=[6])
    assert unit.products()[:2, :2].tolist() == [[truth >> (x + 2 * y) & 1 for y in (0, 1)] for x in (0, 1)]


def test_metrics_of_samples_say_so():
    metrics = Multiplier(family="truncate_columns", columns=4, bits=16).metrics(seed=3)
    assert not metrics.exhaustive and metrics.pairs == 1 << 20
    assert metrics == Multiplier(family="truncate_columns", columns=4, bits=16).metrics(seed=3)
    assert metrics.med == pytest.approx(12.25, rel=0.01) and metrics.bias == -metrics.med  # as at 8 bits
    assert metrics.wce == 49


def test_metrics_of_a_known_table():
    products = [[0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 4, 6], [0, 3, 6, 7]]
    metrics = Multiplier(family="table", bits=2, products=products).metrics()
    for seed, shown in (("x", "'x'"), (1.0, "1.0"), (True, "True")):
        with pytest.raises(TypeError, match=f"^Multiplier metrics seed must be an integer, not {shown}$"):
            Multiplier(family="exact").metrics(seed=seed)
    assert (metrics.med, metrics.nmed, metrics.wce, metrics.ep) == (2 / 16, 2 / 16 / 9, 2, 1 / 16)
    assert metrics.mred == pytest.approx(2 / 9 / 9, abs=1e-15) and metrics.mse == 4 / 16 and metrics.bias == -2 / 16


@pytest.mark.parametrize("family", RULES, ids=lambda family: family.value)
def test_factors_of_small_units(family):
    for unit in itertools.islice(small_units(family), 0, None, 7):
        found = unit.factors()
        assert rebuilt(found).tolist() == unit.products().tolist()


@pytest.mark.parametrize(
    "family, most", [("exact", 4), ("truncate_operands", 4), ("drum", 9), ("ssm", 4), ("roba", 12)]
)
@pytest.mark.parametrize("signed", [False, True])
def test_factors_of_wide_units(family, most, signed):
    parameters = {"truncate_operands": {"a_drop": 3, "b_drop": 2}, "drum": {"k": 6}, "ssm": {"m": 9}}.get(family, {})
    unit = Multiplier(family=family, bits=16, signed=signed, **parameters)
    found = unit.factors()
    assert found.terms <= most
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(0, 65536, (2, 100))
    codes = torch.from_numpy(rows + unit.a.min)[:, None], torch.from_numpy(columns + unit.b.min)
    assert rebuilt(found, rows, columns).tolist() == unit(*codes).tolist()


def rebuilt(factors, rows=slice(None), columns=slice(None)):
    u, v = factors.u[:, rows].astype(np.int64), factors.v[:, columns].astype(np.int64)
    products = np.einsum("t,ta,tb->ab", factors.weights, u, v)
    return factors.p[rows][:, None] + factors.q[columns] + products


def test_factors_that_do_not_exist():
    with pytest.raises(
        ValueError, match=r"^Multiplier factors of family mitchell must be of at most 2\^16 pairs, not 12 x "
    ):
        Multiplier(family="mitchell", bits=12).factors()


def test_products_are_bounded():
    with pytest.raises(ValueError, match=r"^Multiplier products must be at most 2\^24, not 2\^26$"):
        Multiplier(family="exact", bits=13).products()
    assert Multiplier(family="exact", bits=16).exact_bound(3) == 3 * 65535 * 65537 == 3 * (2**32 - 1)
    assert Multiplier(family="exact", signed=True).exact_bound(10) == 10 * 2**15


TABLE = [[a * b for b in range(4)] for a in range(4)]


@pytest.mark.parametrize(
    "given, error, message",
    [
        ({}, TypeError, "Multiplier family must be given"),
        ({"family": "magic"}, ValueError, "Multiplier family must be one of exact, truncate_operands, "),
        ({"family": "exact", "size": 3}, TypeError, "Multiplier has no parameter 'size'"),
        ({"family": "exact", "bits": 17}, ValueError, "Multiplier a bits must be from 2 to 16, not 17"),
        ({"family": "exact", "bits": 1}, ValueError, "Multiplier a bits must be from 2 to 16, not 1"),
        ({"family": "exact", "bits": 8.0}, TypeError, "Fixed bits must be an integer, not 8.0"),
        ({"family": "exact", "signed": 2}, TypeError, "Fixed signed must be true or false, not 2"),
        ({"family": "exact", "a": Fixed(8)}, TypeError, "Multiplier a and b must be given together"),
        (
            {"family": "exact", "a": Fixed(8), "b": Fixed(8), "bits": 8},
            TypeError,
            "Multiplier bits and signed must not be given beside a and b",
        ),
        ({"family": "exact", "a": Fixed(8, 3), "b": Fixed(8)}, ValueError, "Multiplier a must have no frac, not 3"),
        ({"family": "drum"}, ValueError, "Multiplier k must be given with family drum"),
        ({"family": "drum", "k": 2}, ValueError, "Multiplier k must be from 3 to 16, not 2"),
        ({"family": "drum", "k": "4"}, TypeError, "Multiplier k must be an integer, not '4'"),
        ({"family": "drum", "k": 4, "m": 4}, ValueError, "Multiplier m must not be given with family drum"),
        ({"family": "ssm", "m": 3}, ValueError, "Multiplier m must be from 4 to 16 at 8 x 8 bits, not 3"),
        ({"family": "kulkarni", "bits": 6}, ValueError, "Multiplier bits must be powers of two with family kulkarni"),
        (
            {"family": "booth_truncated", "columns": 4},
            ValueError,
            "Multiplier a and b must be signed with family booth",
        ),
        (
            {"family": "booth_truncated", "columns": 4, "a": Fixed(8), "b": Fixed(7)},
            ValueError,
            "Multiplier b bits must be even with family booth_truncated, not 7",
        ),
        (
            {"family": "truncate_operands", "a_drop": 8, "b_drop": 0},
            ValueError,
            "Multiplier a_drop must be from 0 to 7",
        ),
        ({"family": "table"}, ValueError, "Multiplier products must be given with family table"),
        ({"family": "exact", "products": TABLE}, ValueError, "Multiplier products must not be given with family exact"),
        (
            {"family": "table", "products": TABLE},
            ValueError,
            r"Multiplier products must be of shape \(256, 256\), not ",
        ),
        (
            {"family": "table", "bits": 2, "products": [[0.5] * 4] * 4},
            TypeError,
            "Multiplier products must be an array o",
        ),
        (
            {"family": "table", "bits": 2, "products": [[2**31] * 4] * 4},
            ValueError,
            r"Multiplier products must be from -",
        ),
        ({"family": "netlist", "bits": 2}, ValueError, "Multiplier outputs must be given with family netlist"),
        ({"family": "netlist", "bits": 2, "outputs": []}, ValueError, "Multiplier outputs must be 1 to 40, not 0"),
        (
            {"family": "netlist", "bits": 2, "outputs": [6]},
            ValueError,
            "Multiplier outputs must be nodes up to 5, not 6",
        ),
        (
            {"family": "netlist", "bits": 2, "gates": [[8, 2, 3], [8, 2, 7]], "outputs": [6]},
            ValueError,
            r"Multiplier gates\[1\] must refer to nodes before its own, 7, not 7",
        ),
        (
            {"family": "netlist", "bits": 2, "gates": [[16, 2, 3]], "outputs": [6]},
            ValueError,
            "Multiplier gates must have truths from 0 to 15, not 16",
        ),
        (
            {"family": "netlist", "bits": 2, "gates": [[8, 2]], "outputs": [6]},
            ValueError,
            r"Multiplier gates must be at most 1048576 rows of 3, not of shape \(1, 2\)",
        ),
    ],
    ids=lambda value: None if isinstance(value, type) else str(value)[:60],
)
def test_refusals(given, error, message):
    with pytest.raises(error, match=f"^{message}"):
        Multiplier(**given)


def test_defaults_and_digest():
    unit = Multiplier(family="drum", k=4)
    assert (unit.a, unit.b, unit.name) == (Fixed(8, signed=False), Fixed(8, signed=False), "multiplier")
    assert unit.digest == Multiplier(family="drum", a=unit.a, b=unit.b, k=4, name="other").digest
    assert unit.digest != Multiplier(family="drum", k=5).digest
    assert "columns" not in unit.dumps() and "products" not in unit.dumps()


def test_costs():
    assert Multiplier(family="exact").cost().multiplier_bits == 64
    assert Multiplier(family="truncate_columns", columns=3).cost().multiplier_bits == 64 - 6
    assert Multiplier(family="table", bits=2, products=TABLE).cost().storage_bits == 16 * 4
