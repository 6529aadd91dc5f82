"""The fewest bits that reach an error, against every pair of formats."""

import itertools

import pytest

import hwlut
from hwlut import Fixed


@pytest.mark.parametrize(
    "bound", [{"max_mse": 1.2e-3}, {"max_mse": 5e-3}, {"max_error": 0.06}], ids=["fine", "coarse", "largest"]
)
def test_no_pair_of_formats_has_fewer_bits(bound):
    (most,), figure = bound.values(), "mse" if "max_mse" in bound else "max_error"
    given = {"input": Fixed(6), "scales": (3,), "segments": 3}
    unit = hwlut.fit.fewest("tanh", "bits", **given, **bound)
    objective = {"objective": "mse" if figure == "mse" else "max"}
    reaching = [
        (k + b, k)
        for k, b in itertools.product(range(2, 8), range(2, 10))
        if hwlut.fit("tanh", slope_bits=k, intercept_bits=b, **given, **objective).meta[figure] <= most
    ]
    assert (unit.slope.bits + unit.intercept.bits, unit.slope.bits) == min(reaching)
    assert unit.meta[figure] <= most and unit.meta["bound"] == bound and unit.meta["fewest"] == "bits"
    assert unit.segments == 3 and unit.meta["certified"]


@pytest.mark.parametrize(
    "message, options",
    [
        ("fewest must be of segments or bits, not 'area'", {"of": "area"}),
        ("fewest bits need one bound: max_mse or max_error", {"max_mse": None}),
        ("fewest bits must be found without slope_bits", {"slope_bits": 8}),
        ("fewest bits must be found without intercept_bits", {"intercept_bits": 8}),
        ("fewest bits must be found without continuous", {"continuous": True}),
        ("fewest segments must be found without segments", {"of": "segments", "segments": 4}),
        (
            r"fit max_mse must be reached by slopes of 16 and intercepts of 32 bits, which come to 0\.\d+",
            {"segments": 2, "max_mse": 1e-6, "slope_frac": 2, "intercept_frac": 2},
        ),
    ],
    ids=map(str, range(7)),
)
def test_what_has_no_fewest_is_refused(message, options):
    with pytest.raises(ValueError, match=f"^{message}$"):
        hwlut.fit.fewest(**{"function": "tanh", "of": "bits", "scales": (3,), "max_mse": 1e-3, **options})
