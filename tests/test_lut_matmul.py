"""LutMatmul: the definition against plain integers and pairs computed by hand, its file, its refusals."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lut_units import random_unit

from hwlut import Fixed, LutMatmul, Requantize, load

ENCODERS = ["l2", "l1", "chebyshev", "tree"]


def oracle(unit, row):
    """One row by loops over Python's integers, written from the design and not from the unit."""
    x = list(row) + [unit.zero_point] * (unit.codebooks * unit.v - len(row))
    sums = [0] * unit.outputs if unit.bias is None else [int(b) for b in unit.bias]
    for c in range(unit.codebooks):
        part = x[c * unit.v : (c + 1) * unit.v]
        if unit.encoder.value == "tree":
            node = 0
            for level in range(unit.depth):
                went_right = part[int(unit.dimensions[c, level])] >= int(unit.thresholds[c, node])
                node = 2 * node + (2 if went_right else 1)
            found = node - (unit.k - 1)
        else:
            found, least = None, None
            for k in range(unit.k):
                away = [abs(a - int(p)) for a, p in zip(part, unit.prototypes[c, k])]
                distance = {"l2": sum(d * d for d in away), "l1": sum(away), "chebyshev": max(away)}
                distance = distance[unit.encoder.value]
                if least is None or distance < least:
                    found, least = k, distance
        for m in range(unit.outputs):
            sums[m] += int(unit.table[c, found, m])
    if unit.requantize is None:
        return sums
    after, results = unit.requantize, []
    for m, value in enumerate(sums):
        channel = m if after.channels > 1 else 0
        shift, product = after.shifts[channel], value * after.multipliers[channel]
        rounded = (2 * product + (1 << shift)) // (2 << shift)  # half up
        results.append(min(max(rounded + after.zero_point, after.output.min), after.output.max))
    return results


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from(ENCODERS), st.sampled_from([2, 4, 16, 32]), st.data())
def test_the_definition_equals_plain_integers(seed, encoder, k, data):
    v = data.draw(st.integers(1, 9))
    features = data.draw(st.integers(1, 40))
    outputs = data.draw(st.integers(1, 7))
    unit = random_unit(seed, encoder=encoder, k=k, v=v, features=features, outputs=outputs, ties=seed % 2 == 0)
    rows = np.random.default_rng(seed).integers(-128, 128, (5, features))
    rows[0] = -128
    rows[1] = 127
    assert unit(torch.from_numpy(rows)).tolist() == [oracle(unit, row.tolist()) for row in rows]


def test_hand_computed():
    # Two sub-vectors of two, three inputs: the fourth is the zero point, 5.
    unit = LutMatmul(
        encoder="l2",
        features=3,
        v=2,
        zero_point=5,
        prototypes=[[[0, 0], [3, 4]], [[1, 5], [9, 5]]],
        table=[[[1, -2], [10, 20]], [[100, 0], [-100, 7]]],
        bias=[1000, 0],
    )
    # (3, 3): 18 from (0, 0), 1 from (3, 4). (5, 5): 16 from (1, 5), 16 from (9, 5): the lower index.
    assert unit.encode(torch.tensor([3, 3, 5])).tolist() == [1, 0]
    assert unit(torch.tensor([3, 3, 5])).tolist() == [1000 + 10 + 100, 20]
    assert unit(torch.tensor([[0, 1, 6]])).tolist() == [[1000 + 1 - 100, -2 + 7]]
    assert unit(torch.tensor([[3, 3, 5]])).dtype == torch.int32
    assert unit.accumulator == Fixed(12)  # from 1000 + 1 - 100 and -2 + 0 to 1000 + 10 + 100 and 27


def test_encoders_differ_where_they_should():
    # From (0, 0): (5, 5) has squares 50, sum 10, maximum 5; (7, 0) has 49, 7, 7; (4, 6) has 52, 10, 6.
    prototypes = [[[5, 5], [7, 0], [4, 6], [100, 100]]]
    found = {}
    for encoder in ("l2", "l1", "chebyshev"):
        unit = LutMatmul(encoder=encoder, features=2, v=2, prototypes=prototypes, table=np.zeros((1, 4, 1), int))
        found[encoder] = unit.encode(torch.zeros(2, dtype=torch.int8)).item()
    assert found == {"l2": 1, "l1": 1, "chebyshev": 0}


def test_a_tree_by_hand():
    # Level 0 compares input 1, level 1 input 0. Heap order: root, left, right.
    unit = LutMatmul(
        encoder="tree", features=2, v=2, thresholds=[[10, -5, 7]], dimensions=[[1, 0]], table=np.zeros((1, 4, 1), int)
    )
    codes = torch.tensor([[-6, 9], [-5, 9], [6, 10], [7, 127]])
    assert unit.encode(codes).flatten().tolist() == [0, 1, 2, 3]


def test_requantized_per_output():
    after = Requantize(input=Fixed(16), multipliers=(1, 3), shifts=(1, 0), output=Fixed(8), zero_point=2)
    unit = LutMatmul(
        encoder="l1", features=1, v=1, prototypes=[[[0], [9]]], table=[[[3, 3], [-128, 127]]], requantize=after
    )
    assert unit(torch.tensor([[0], [9]])).tolist() == [[2 + 2, 9 + 2], [-64 + 2, 127]]
    assert unit.output == Fixed(8)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_shapes(encoder, shape):
    unit = random_unit(1, encoder=encoder, k=4, v=3, features=7, outputs=5)
    codes = torch.randint(-128, 128, (*shape, 7), dtype=torch.int8)
    assert unit(codes).shape == (*shape, 5)
    assert unit.encode(codes).shape == (*shape, 3)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_rows_do_not_depend_on_how_many_there_are(encoder, monkeypatch):
    unit = random_unit(2, encoder=encoder, k=16, v=4, features=30, outputs=3)
    codes = torch.randint(-128, 128, (50, 30))
    whole = unit(codes)
    monkeypatch.setattr("hwlut.units.lut_matmul._AT_ONCE", 1)
    assert torch.equal(unit(codes), whole)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_files_round_trip(encoder, tmp_path):
    small = random_unit(3, encoder=encoder, k=4, v=3, features=7, outputs=5, table_bits=4)
    large = random_unit(4, encoder=encoder, k=16, v=4, features=64, outputs=40, requantize=True)
    for unit in (small, large):
        named = unit.replace(name="layer_0", meta={"seed": 3})
        again = load(named.save(tmp_path / "layer_0.json"))
        assert again == named and again.requantize == named.requantize
        assert (tmp_path / "layer_0.safetensors").exists() == (unit is large)
        codes = torch.randint(-128, 128, (9, unit.features))
        assert torch.equal(again(codes), unit(codes))


def test_a_table_that_does_not_match_its_file_is_refused(tmp_path):
    unit = random_unit(4, encoder="tree", k=16, v=4, features=64, outputs=40, requantize=True)
    path = unit.replace(name="one").save(tmp_path / "one.json")
    other = random_unit(5, encoder="tree", k=16, v=4, features=64, outputs=40, requantize=True)
    other.replace(name="one").save(tmp_path / "other" / "one.json")
    (tmp_path / "other" / "one.safetensors").rename(tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match=r"one\.json: table: the array in .*one\.safetensors is not the one described"):
        load(path)


GOOD = dict(encoder="l2", features=3, v=2, prototypes=np.zeros((2, 4, 2), int), table=np.zeros((2, 4, 3), int))
TREE = dict(
    encoder="tree",
    features=3,
    v=2,
    thresholds=np.zeros((2, 3), int),
    dimensions=np.zeros((2, 2), int),
    table=np.zeros((2, 4, 3), int),
)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"table": np.zeros((2, 3, 3), int)}, "table must have a power of two from 2 to 256 entries a codebook, not 3"),
        ({"table": np.zeros((2, 512, 3), int)}, "table must have a power of two from 2 to 256 entries a codebook,"),
        ({"features": 5}, "table must have 3 codebooks, those of 5 inputs by 2, not 2"),
        ({"features": 0}, "features must be from 1 to 1048576, not 0"),
        ({"v": 2.0}, "v must be an integer, not 2.0"),
        ({"table": np.full((2, 4, 3), 128)}, "table must be from -128 to 127, not 128"),
        ({"table": np.full((2, 4, 3), 8), "table_bits": 4}, "table must be from -8 to 7, not 8"),
        ({"table_bits": 5}, "table_bits must be 4 or 8, not 5"),
        ({"table": np.zeros((2, 4, 3))}, "table must be an array of integers, not of float64"),
        ({"prototypes": np.zeros((2, 4, 3), int)}, r"prototypes must be of shape \(2, 4, 2\), not \(2, 4, 3\)"),
        ({"prototypes": np.full((2, 4, 2), -129)}, "prototypes must be from -128 to 127, not -129"),
        ({"prototypes": None}, "prototypes must be given with encoder l2"),
        ({"zero_point": 1}, "prototypes must be the zero point, 1, beyond the features, not 0"),
        ({"thresholds": np.zeros((2, 3), int)}, "thresholds must not be given with encoder l2"),
        ({"encoder": "cosine"}, "encoder must be one of l2, l1, chebyshev, tree, not 'cosine'"),
        ({"bias": np.zeros(2, int)}, r"bias must be of shape \(3,\), not \(2,\)"),
        ({"bias": np.full(3, 1 << 31)}, "bias must be from -2147483648 to 2147483647, not 2147483648"),
        ({"bias": np.full(3, (1 << 31) - 1), "table": np.ones((2, 4, 3), int)}, "sums must fit 32 bits, not 33"),
        ({"requantize": 3}, "requantize must be a Requantize, not 3"),
        (
            {"requantize": Requantize(input=Fixed(2), multipliers=(1, 1), shifts=(0, 0), output=Fixed(8))},
            "requantize must have 1 channel or 3, not 2",
        ),
        (
            {
                "requantize": Requantize(input=Fixed(2), multipliers=(1,), shifts=(0,), output=Fixed(8)),
                "table": np.ones((2, 4, 3), int),
            },
            "requantize input must hold the sums, s3, not s2",
        ),
    ],
)
def test_impossible_units_are_refused(changes, message):
    LutMatmul(**GOOD)
    with pytest.raises((TypeError, ValueError), match=f"^LutMatmul {message}"):
        LutMatmul(**GOOD | changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"thresholds": np.zeros((2, 4), int)}, r"thresholds must be of shape \(2, 3\), not \(2, 4\)"),
        ({"thresholds": np.full((2, 3), 128)}, "thresholds must be from -128 to 127, not 128"),
        ({"dimensions": np.full((2, 2), 2)}, "dimensions must be from 0 to 1, not 2"),
        ({"dimensions": np.full((2, 2), -1)}, "dimensions must be from 0 to 1, not -1"),
        ({"prototypes": np.zeros((2, 4, 2), int)}, "prototypes must not be given with encoder tree"),
    ],
)
def test_impossible_trees_are_refused(changes, message):
    LutMatmul(**TREE)
    with pytest.raises((TypeError, ValueError), match=f"^LutMatmul {message}"):
        LutMatmul(**TREE | changes)


def test_bad_codes_are_refused():
    unit = LutMatmul(**GOOD)
    for codes, error, message in (
        (torch.zeros(4, dtype=torch.int8), ValueError, r"LutMatmul codes must be \[..., 3\], not \[4\]"),
        (torch.zeros((), dtype=torch.int8), ValueError, r"LutMatmul codes must be \[..., 3\], not \[\]"),
        (torch.zeros(3), TypeError, "LutMatmul codes must be uint8, int8, int16, int32 or int64, not torch.float32"),
        (torch.full((3,), 128), ValueError, "LutMatmul codes must be from -128 to 127, not 128"),
    ):
        with pytest.raises(error, match=f"^{message}$"):
            unit(codes)


def test_the_digest_is_of_everything_that_decides_results():
    unit = random_unit(7, encoder="l2", k=4, v=2, features=5, outputs=3, requantize=True)
    table, prototypes, bias = unit.table.copy(), unit.prototypes.copy(), unit.bias.copy()
    table[0, 0, 0] ^= 1
    prototypes[0, 0, 0] ^= 1
    bias[0] += 1
    others = [
        unit.replace(table=table),
        unit.replace(prototypes=prototypes),
        unit.replace(bias=bias),
        unit.replace(encoder="l1"),
        unit.replace(requantize=unit.requantize.replace(zero_point=1)),
    ]
    assert len({each.digest for each in (unit, *others)}) == 6
    assert unit.replace(name="other").digest == unit.digest
    assert hash(unit) == hash(unit.replace()) and dataclasses.fields(unit)
