"""Exact decomposition: the identity on every pair, the fewest terms that are known, and everything odd."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hwlut.decomposition import Factors, cached, decompose, lattice, separable
from hwlut.decomposition.balance import Effort, balanced
from hwlut.decomposition.terms import Terms, narrowed
from hwlut.errors import ToolError

CODES = range(256)


def table(product, a=CODES, b=CODES):
    return np.array([[product(x, y) for y in b] for x in a])


def entry(factors, a, b):
    """The identity in plain Python integers."""
    terms = zip(factors.weights.tolist(), factors.u[:, a].tolist(), factors.v[:, b].tolist())
    return int(factors.p[a]) + int(factors.q[b]) + sum(w * u * v for w, u, v in terms)


def assert_factors_of(factors, products):
    assert (factors.u.dtype, factors.v.dtype, factors.weights.dtype) == (np.int8, np.int8, np.int64)
    # int64 arithmetic on the arrays themselves, not `products()`, which has a faster way
    terms = np.einsum("t,ta,tb->ab", factors.weights, factors.u.astype(np.int64), factors.v.astype(np.int64))
    assert np.array_equal(factors.p[:, None] + factors.q + terms, products)
    assert np.array_equal(factors.products(), products)


# Families, each from its definition in plain integers.


def truncated_columns(a, b, columns=8):
    return sum(1 << (i + j) for i in range(8) for j in range(8) if i + j >= columns and a >> i & b >> j & 1)


def drum(a, b, k=4):
    def kept(x):
        shift = max(x.bit_length() - k, 0)
        return x if shift == 0 else (x >> shift | 1) << shift

    return kept(a) * kept(b)


def kulkarni(a, b, bits=8):
    if bits == 2:
        return 7 if a == b == 3 else a * b
    half = bits // 2
    low = (1 << half) - 1
    part = [[kulkarni(x, y, half) for y in (b & low, b >> half)] for x in (a & low, a >> half)]
    return part[0][0] + (part[0][1] + part[1][0] << half) + (part[1][1] << bits)


def roba(a, b):
    def rounded(x):
        if x == 0:
            return 0
        power = 1 << x.bit_length() - 1
        return power << 1 if 2 * x >= 3 * power and x != 3 else power

    return rounded(a) * b + rounded(b) * a - rounded(a) * rounded(b)


def or_columns(a, b, k=6):
    ones = [[a >> i & b >> (c - i) & 1 for i in range(8) if 0 <= c - i < 8] for c in range(15)]
    return sum((max(column) if c < k else sum(column)) << c for c, column in enumerate(ones))


FAMILIES = {
    "exact": (lambda a, b: a * b, 1),
    "truncated_operands": (lambda a, b: (a >> 3 << 3) * (b >> 2 << 2), 1),
    "truncated_columns_4": (lambda a, b: truncated_columns(a, b, 4), 5),
    "truncated_columns_8": (truncated_columns, 7),
    "drum": (drum, 1),
    "kulkarni": (kulkarni, 2),
    "or_columns": (or_columns, 58),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_terms_of_families(family):
    product, terms = FAMILIES[family]
    products = table(product)
    factors = decompose(products)
    assert_factors_of(factors, products)
    assert factors.terms <= terms


def test_roba_of_7_bits_needs_two_terms():
    """RoBA is a_r b + b_r a - a_r b_r = a b - (a - a_r)(b - b_r)."""
    products = table(roba, range(128), range(128))
    factors = decompose(products)
    assert_factors_of(factors, products)
    assert factors.terms == 2


def test_signs_and_widths_do_not_matter():
    products = table(lambda a, b: (a >> 1) * b, range(-128, 128), range(16))
    factors = decompose(products)
    assert_factors_of(factors, products)
    assert factors.terms == 1
    assert_factors_of(decompose(products.T.astype(np.int16)), products.T)


@pytest.mark.parametrize("rank", [1, 2, 5, 12])
def test_random_tables_of_known_rank(rank):
    random = np.random.default_rng(rank)
    u, v = random.integers(-3, 4, (2, rank, 64))
    weights = random.integers(1, 100, rank)
    products = (u.T * weights) @ v + random.integers(-9999, 9999, 64)[:, None] + random.integers(0, 99, 64)
    factors = decompose(products)
    assert_factors_of(factors, products)
    assert factors.terms == rank


def test_random_table_of_full_rank():
    products = np.random.default_rng(0).integers(0, 256, (40, 256))
    factors = decompose(products)
    assert_factors_of(factors, products)
    assert 39 <= factors.terms <= 78


EXTREMES = {
    "zero": (np.zeros((256, 256), np.int32), 0),
    "constant": (np.full((16, 4), -(2**31)), 0),
    "one_entry": (np.array([[7]]), 0),
    "one_row": (np.arange(300)[None] ** 2, 0),
    "one_column": (np.arange(300)[:, None] ** 2, 0),
    "sums_only": (np.arange(9)[:, None] * 1000 - np.arange(5), 0),
    "one_corner": (np.eye(1, 65536, 65535, dtype=np.int64).reshape(256, 256) * (2**31 - 1), 1),
    "huge_gcd": (np.outer(np.arange(-128, 128), np.arange(-128, 128)) * (2**17 + 1), 1),
    "unsigned": (np.outer(np.arange(256), np.arange(256)).astype(np.uint16), 1),
    "both_ends": (np.where(np.indices((8, 8)).sum(axis=0) % 2, 2**31 - 1, -(2**31)), 3),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extremes(name):
    products, most = EXTREMES[name]
    factors = decompose(products)
    assert_factors_of(factors, products)
    assert factors.terms <= most


def test_huge_random_numbers():
    products = np.random.default_rng(1).integers(-(2**31), 2**31, (24, 16))
    assert_factors_of(decompose(products), products)


def test_12_bits_by_distinct_rows_and_columns():
    few = np.arange(4096) >> 7
    products = np.outer(few, np.arange(1024)[::-1] >> 8) + (few[:, None] & 1)
    factors = decompose(products)
    assert factors.terms == 1
    assert np.array_equal(factors.products(), products)


@settings(max_examples=25, deadline=None)
@given(
    arrays.arrays(
        np.int64,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.one_of(st.integers(-3, 3), st.integers(-(2**39), 2**39)),
    )
)
def test_any_small_table(products):
    factors = decompose(products)
    assert_factors_of(factors, products)
    places = [(0, 0), (len(products) - 1, products.shape[1] - 1)]
    assert [entry(factors, *place) for place in places] == [int(products[place]) for place in places]


def test_known_factors_are_a_bound():
    products = table(or_columns, range(64), range(64))
    factors = decompose(products)
    assert decompose(products, known=factors).terms <= factors.terms
    with pytest.raises(ValueError, match="^known must be factors of the table itself, not of another$"):
        decompose(products + 1, known=factors)
    with pytest.raises(TypeError, match="^known must be Factors, not 3$"):
        decompose(products, known=3)


@pytest.mark.parametrize(
    "products, error, message",
    [
        (np.zeros((2, 2)), TypeError, "a table to decompose must be an array of integers, not of float64"),
        (np.zeros(4, int), ValueError, r"a table to decompose must be 2-dimensional .* 2\^24 entries, not .* \(4,\)"),
        (np.zeros((0, 4), int), ValueError, r"a table .* with 1 to 2\^24 entries, not of shape \(0, 4\)"),
        (np.array([[2**40]]), ValueError, r"a table .* below 2\^40 in magnitude, not from 1099511627776 to 109.*"),
    ],
    ids=["floats", "vector", "empty", "large"],
)
def test_what_is_no_table_is_refused(products, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        decompose(products)


def test_too_many_distinct_rows_and_columns_are_refused():
    products = np.random.default_rng(0).integers(0, 99, (1100, 1030))
    with pytest.raises(ValueError, match="^a table .* at most 1024 distinct rows or columns, not 1100 and 1030$"):
        decompose(products)


def test_the_same_table_gives_the_same_factors():
    products = table(or_columns, range(32), range(64))
    assert decompose(products) == decompose(products.copy(order="F"))


def test_without_a_lattice_the_result_is_exact(monkeypatch):
    monkeypatch.setattr(lattice, "_PROGRAM", "import os; os.kill(os.getpid(), 9)")
    products = table(drum, range(128), range(64))
    factors = decompose(products)
    assert_factors_of(factors, products)
    assert factors.terms > 1


def test_lattice_search_ends_in_time():
    u, v = np.random.default_rng(0).integers(-8, 9, (2, 160, 256))
    assert list(lattice.lattice_terms([u.T @ v], seconds=1)) == []


def test_a_missing_flint_is_named(monkeypatch):
    monkeypatch.setattr(lattice, "_PROGRAM", "raise ModuleNotFoundError('no flint')")
    with pytest.raises(ToolError, match="^python-flint: ModuleNotFoundError: no flint; pip install python-flint$"):
        decompose(table(drum, range(64), range(64)))


# The steps by themselves.


def centred(products):
    return products - products[:1] - products[:, :1] + products[0, 0]


@pytest.mark.parametrize(
    "u_range, v_range, terms",
    [(255, 255, 1), (255, 256, 2), (256, 256, 3), (16383, 300, 3), (16384, 300, 4), (65535, 65536, 6)],
)
def test_narrowed(u_range, v_range, terms):
    random = np.random.default_rng(0)
    u, v = (np.concatenate([[0, r, 1], random.integers(0, r, 60)]) - 11 for r in (u_range, v_range))
    found = narrowed(Terms.of(u[None], v[None]))
    assert len(found.w) == terms
    assert np.ptp(found.u, axis=1).max() <= 255 and np.ptp(found.v, axis=1).max() <= 255
    assert np.array_equal(centred(found.table()), centred(np.outer(u, v)))


def test_balanced_undoes_a_change_of_basis():
    random = np.random.default_rng(3)
    u, v = random.integers(0, 60, (2, 6, 100))
    mixed_u, mixed_v = u.copy(), v.copy()
    for i, j in random.permuted(np.tile(np.arange(6), (8, 1)), axis=1)[:, :2]:
        mixed_v[i] += 9 * mixed_v[j]
        mixed_u[j] -= 9 * mixed_u[i]
    mixed = Terms.of(mixed_u, mixed_v)
    assert len(narrowed(mixed).w) > 6
    found = balanced(mixed, Effort(10**7))
    assert len(found.w) == 6
    assert np.array_equal(centred(found.table()), centred(u.T @ v))
    assert np.array_equal(centred(balanced(mixed, Effort(0)).table()), centred(u.T @ v))


# Separable products.


def test_separable_of_wide_operands():
    a = np.arange(-(2**15), 2**15)
    factors = separable([(a >> 4 << 4, a), (np.full(2**16, 7), a & 255)])
    assert factors.terms == 4 + 0
    for x in (0, 1, 77, 2**15, 2**16 - 1):
        for y in (0, 5, 2**15 - 1, 2**16 - 1):
            left, right = int(a[x]), int(a[y])
            assert entry(factors, x, y) == (left >> 4 << 4) * right + 7 * (right & 255)


def test_separable_of_12_bits_is_three_terms():
    a = np.arange(4096)
    factors = separable([(a, a)])
    assert factors.terms == 3
    assert np.array_equal(factors.products(), np.outer(a, a))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_separable_of_anything(data):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)))
    numbers = st.one_of(st.integers(-300, 300), st.integers(-(2**29), 2**29))
    f = data.draw(arrays.arrays(np.int64, (shape[0], shape[1]), elements=numbers))
    g = data.draw(arrays.arrays(np.int64, (shape[0], shape[2]), elements=numbers))
    assert_factors_of(separable(zip(f, g)), f.T @ g)


@pytest.mark.parametrize(
    "pairs, error, message",
    [
        ([], ValueError, "separable needs at least one pair"),
        ([3], TypeError, "separable pairs must be of two arrays each, not 3"),
        ([(np.zeros(2), np.zeros(2, int))], TypeError, "separable factors must be arrays of integers, not of float64"),
        ([(np.zeros((2, 1), int),) * 2], ValueError, r"separable factors must be .* not of shape \(2, 1\)"),
        ([([1], [2, 3]), ([1], [4])], ValueError, "separable factors must be as long as the first, 2, not 1"),
        ([([2**31], [2**31])], ValueError, r"separable products must be below 2\^62 in magnitude"),
    ],
    ids=["none", "number", "floats", "matrix", "lengths", "large"],
)
def test_what_is_no_pair_is_refused(pairs, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        separable(pairs)


# Factors and their cache.


@pytest.fixture
def small():
    """3 + 2 a - b + 5 (a - 1)(b - 2) - 7 a b over a, b in 0 .. 3."""
    a = np.arange(4)
    u, v = np.array([a - 1, a], np.int8), np.array([a - 2, a], np.int8)
    return Factors(u=u, v=v, weights=np.array([5, -7]), p=3 + 2 * a, q=-a)


def test_factors_by_hand(small):
    assert small.terms == 2
    assert small.products()[1, 1] == 3 + 2 - 1 + 0 - 7
    assert small.products()[3, 2] == 3 + 6 - 2 + 0 - 42
    assert small.products()[0, 3] == 3 - 3 - 5
    assert small.bound == 5 * 2 * 2 + 7 * 3 * 3
    assert entry(small, 3, 3) == small.products()[3, 3] == 3 + 6 - 3 + 10 - 63


def test_factors_are_values(small):
    again = Factors.from_bytes(small.to_bytes())
    assert again == small and hash(again) == hash(small) and again is not small
    assert small != Factors(u=small.u, v=small.v, weights=small.weights, p=small.p, q=small.q + 1)
    assert small != 3
    with pytest.raises(ValueError, match="read-only"):
        again.p[0] = 1


def test_products_above_53_bits():
    one = np.array([[0, 1]], np.int8)
    weights, none = np.array([2**60 + 1]), np.zeros(2, np.int64)
    factors = Factors(u=one, v=one, weights=weights, p=none, q=none)
    assert factors.products().tolist() == [[0, 0], [0, 2**60 + 1]]


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"u": np.zeros((2, 4))}, TypeError, "Factors u must be an array of int8, not float64"),
        ({"p": [1, 2]}, TypeError, "Factors p must be an array of int64, not list"),
        ({"q": np.zeros((1, 4), int)}, ValueError, "Factors q must have 1 dimensions, not 2"),
        (
            {"q": np.zeros(3, int)},
            ValueError,
            r"Factors u and v must be of shapes \(2, 4\) and \(2, 3\), not .* \(2, 4\)",
        ),
    ],
    ids=["dtype", "list", "dimensions", "shapes"],
)
def test_what_are_no_factors_is_refused(small, changes, error, message):
    arrays_of = {key: getattr(small, key) for key in ("u", "v", "weights", "p", "q")}
    with pytest.raises(error, match=f"^{message}$"):
        Factors(**arrays_of | changes)


def test_damaged_bytes_are_refused(small):
    data = small.to_bytes()
    for damaged in (b"", data[:-1], data[:-3] + b"\x55" + data[-2:]):
        with pytest.raises(ValueError, match="^factors are damaged: their sha256 is another$"):
            Factors.from_bytes(damaged)


def test_cache(small, tmp_path, monkeypatch):
    monkeypatch.setenv("HWLUT_CACHE", str(tmp_path))
    calls = []

    def make():
        calls.append(1)
        return small

    assert cached("a", make) == cached("a", make) == small
    assert len(calls) == 1
    cached("b", make)
    assert len(calls) == 2
    for file in tmp_path.glob("factors/*/factors"):
        file.write_bytes(file.read_bytes()[:-1] + b"\x55")
    assert cached("a", make) == small and len(calls) == 3
    assert cached("a", make) == small and len(calls) == 3
    for file in tmp_path.glob("factors/*/factors"):
        file.unlink()
    assert cached("b", make) == small and len(calls) == 4


def test_flint_waits():
    program = "import sys, hwlut.decomposition; print('flint' in sys.modules, 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False False\n"
