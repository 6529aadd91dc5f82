"""Codebooks: k-means, trees and refits against slow versions, closed forms and pairs computed by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwlut import LutMatmul
from hwlut.codebooks import kmeans, nearest, refit, refit_batches, ridge_prototypes, tree_leaves, trees
from hwlut.codebooks.lloyd import lloyd
from hwlut.codebooks.subvectors import SubVectors


def activations(seed, rows, features):
    """Correlated, off zero, and of different spreads."""
    random = torch.Generator().manual_seed(seed)
    mixed = torch.randn(rows, features, generator=random) @ torch.randn(features, features, generator=random)
    return mixed * torch.linspace(0.5, 2, features) + 3


def cut(data, v, fill=0.0):
    """Sub-vectors as float64 [C, N, v]."""
    x = torch.nn.functional.pad(data.double(), (0, -data.shape[1] % v), value=fill)
    return x.unflatten(1, (-1, v)).transpose(0, 1).numpy()


def lloyd_oracle(x, prototypes, iterations):
    """Of one codebook, in loops: prototypes, and the mean squared distance to them."""
    prototypes = prototypes.astype(np.float64).copy()
    for step in range(iterations + 1):
        distances = [[((row - p) ** 2).sum() for p in prototypes] for row in x]
        chosen = [int(np.argmin(each)) for each in distances]
        error = np.mean([min(each) for each in distances])
        if step == iterations:
            return prototypes, error
        for k in range(len(prototypes)):
            members = [row for row, choice in zip(x, chosen) if choice == k]
            if members:
                prototypes[k] = np.mean(members, axis=0)


def distances_oracle(data, prototypes, v, fill=0.0):
    """The mean squared distance to the nearest prototype."""
    x = cut(data, v, fill)
    away = x[:, :, None] - prototypes.double().numpy()[:, None]
    return (away**2).sum(-1).min(-1).mean()


@pytest.mark.parametrize("features, v, k", [(12, 4, 4), (11, 4, 8), (5, 1, 2), (6, 6, 16), (3, 5, 4)])
def test_kmeans_is_lloyd(features, v, k):
    data = activations(features, 120, features)
    start = kmeans(data, k, v, seed=3, iterations=0)
    assert start.iterations == 0
    errors = []
    for codebook, x in enumerate(cut(data, v)):
        for row in start.prototypes[codebook].double().numpy():
            assert np.abs(x - row).max(1).min() < 1e-6  # a sub-vector of the data
        found, error = lloyd_oracle(x, start.prototypes[codebook].numpy(), 3)
        errors.append(error)
        ours = kmeans(data, k, v, seed=3, iterations=3).prototypes[codebook].numpy()
        assert np.abs(ours - found).max() < 1e-5 * np.abs(found).max()
    assert kmeans(data, k, v, seed=3, iterations=3).error == pytest.approx(np.mean(errors), rel=1e-5)


def test_the_error_is_that_of_the_prototypes_and_never_increases():
    data = activations(1, 500, 12)
    errors = []
    for iterations in range(12):
        found = kmeans(data, 8, 4, iterations=iterations)
        assert found.error == pytest.approx(distances_oracle(data, found.prototypes, 4), rel=1e-5)
        errors.append(found.error)
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.9 * errors[0]


def test_it_stops_where_nothing_changes():
    data = activations(2, 60, 4)
    found = kmeans(data, 4, 2, iterations=1000)
    assert 0 < found.iterations < 100
    again = kmeans(data, 4, 2, iterations=found.iterations + 7)
    assert torch.equal(again.prototypes, found.prototypes) and again.iterations == found.iterations
    (x, _), last = cut(data, 2), found.prototypes[0].numpy()
    assert np.abs(lloyd_oracle(x, last, 1)[0] - last).max() < 1e-5


@pytest.mark.parametrize("k", [2, 16, 64])
def test_separate_clusters_are_found(k):
    random = np.random.default_rng(k)
    centres = random.permutation(k * 9).reshape(9, k, 1) * np.array([100.0, 1, -50, 20])
    chosen = random.integers(0, k, (4000, 9))
    rows = centres[np.arange(9), chosen] + random.normal(0, 0.1, (4000, 9, 4))
    found = kmeans(torch.from_numpy(rows.reshape(4000, 36)), k, 4, seed=k)
    assert found.error == pytest.approx(4 * 0.1**2, rel=0.05)
    for ours, theirs in zip(found.prototypes.numpy(), centres):
        assert np.abs(ours[:, None] - theirs).max(2).min(0).max() < 0.2


def test_far_from_zero():
    near = activations(3, 400, 8)
    near = (near / 64).round(decimals=2)
    found, moved = kmeans(near, 4, 4), kmeans(near.double() + 1000, 4, 4)
    assert moved.error == pytest.approx(found.error, rel=1e-2)
    assert moved.error == pytest.approx(distances_oracle((near.double() + 1000).float(), moved.prototypes, 4), rel=1e-2)


def test_streams_are_read_as_one(monkeypatch):
    data = activations(4, 3000, 10)
    whole = kmeans(data, 16, 4, seed=5, iterations=9)
    for sizes in ([3000], [1, 999, 0, 1500, 500], [100] * 30):
        batches = list(data.split(sizes))
        streamed = kmeans(batches, 16, 4, seed=5, iterations=9)
        assert torch.allclose(streamed.prototypes, whole.prototypes, atol=1e-4)
        assert streamed.error == pytest.approx(whole.error, rel=1e-5)
    monkeypatch.setattr("hwlut.codebooks.lloyd._CACHED", 1)
    assert torch.allclose(kmeans(data, 16, 4, seed=5, iterations=9).prototypes, whole.prototypes, atol=1e-4)


def test_samples_are_uniform_and_do_not_depend_on_batches():
    data = torch.arange(5000.0)[:, None]
    whole = SubVectors(data, 1, 0.0, "data").survey(100, seed=7)
    for size in (1, 99, 100, 350, 4999):
        streamed = SubVectors(list(data.split(size)), 1, 0.0, "data").survey(100, seed=7)
        assert torch.equal(streamed.sample, whole.sample) and streamed.rows == 5000
        assert torch.allclose(streamed.mean, torch.tensor(2499.5, dtype=torch.float64))
    drawn = [SubVectors(data, 1, 0.0, "data").survey(100, seed=seed).sample.flatten() for seed in range(50)]
    assert all(len(each.unique()) == 100 and each.equal(each.sort().values) for each in drawn)
    counts = torch.cat(drawn).histc(10, 0, 5000)  # 500 expected in each; standard deviation 21
    assert counts.min() > 400 and counts.max() < 600


def test_empty_prototypes_are_moved_to_where_they_serve():
    data = torch.tensor([[0.0], [1], [10], [11], [50]]).repeat(4, 1)
    rows = SubVectors(data, 1, 0.0, "data")
    survey = rows.survey(100, 0)
    start = torch.tensor([[[5.0], [900], [901], [902]]])
    moved, _, _ = lloyd(rows, survey, start, 1)
    # All are nearest to 5, whose new place is 14.4; farthest from it is 50, then 0 at 14.4, then 10 at 4.4.
    assert moved.flatten().tolist() == pytest.approx([14.4, 50, 0, 10])
    settled, error, _ = lloyd(rows, survey, start, 30)
    assert sorted(settled.flatten().tolist()) == pytest.approx([0, 1, 10.5, 50])
    assert error == pytest.approx(2 * 0.5**2 / 5)


@pytest.mark.parametrize("distinct", [1, 2, 5])
def test_fewer_different_sub_vectors_than_prototypes(distinct):
    values = torch.randn(distinct, 6, generator=torch.Generator().manual_seed(distinct))
    data = values.repeat(20, 1)
    found = kmeans(data, 8, 3)
    assert found.prototypes.isfinite().all()
    assert found.error < 1e-10
    assert torch.allclose(found.prototypes[torch.arange(2), nearest(values, found.prototypes)].flatten(1), values)


def test_as_many_rows_as_prototypes():
    data = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    found = kmeans(data, 8, 3)
    assert found.error < 1e-10
    assert nearest(data, found.prototypes).sort(0).values.T.tolist() == [list(range(8))] * 2


def test_ties_are_counted_once():
    # Two prototypes coincide; the lower index takes all that is theirs, and the other one is moved.
    data = torch.tensor([[0.0], [0], [6], [8]])
    rows = SubVectors(data, 1, 0.0, "data")
    start = torch.tensor([[[0.0], [0]]])
    moved, _, _ = lloyd(rows, rows.survey(9, 0), start, 1)
    assert moved.flatten().tolist() == pytest.approx([3.5, 8])
    # 3 is as far from 0 as from 6.
    rows = SubVectors(torch.tensor([[0.0], [3], [6]]), 1, 0.0, "data")
    moved, error, _ = lloyd(rows, rows.survey(9, 0), torch.tensor([[[0.0], [6]]]), 1)
    assert moved.flatten().tolist() == pytest.approx([1.5, 6])
    assert error == pytest.approx(1.5)


def test_seeds():
    data = activations(6, 300, 8)
    one, same, other = (kmeans(data, 8, 4, seed=seed, iterations=2) for seed in (1, 1, 2))
    assert torch.equal(one.prototypes, same.prototypes) and one.error == same.error and one.seed == 1
    assert not torch.equal(one.prototypes, other.prototypes)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-6), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)])
def test_other_floats(dtype, tolerance):
    data = activations(7, 200, 8)
    start = kmeans(data.to(dtype), 4, 4, iterations=5)
    assert start.prototypes.dtype == torch.float32
    assert torch.allclose(start.prototypes, kmeans(data.to(dtype).float(), 4, 4, iterations=5).prototypes)
    assert start.error == pytest.approx(kmeans(data, 4, 4, iterations=5).error, rel=tolerance)


def test_the_last_sub_vector_is_filled():
    data = activations(8, 100, 7)
    found = kmeans(data, 4, 4, fill=2.5)
    assert found.prototypes.shape == (2, 4, 4) and (found.prototypes[1, :, 3] == 2.5).all()
    assert found.error == pytest.approx(distances_oracle(data, found.prototypes, 4, 2.5), rel=1e-5)


class Twice:
    """Batches that are others the second time."""

    def __init__(self, first, second):
        self.readings = [first, second]

    def __iter__(self):
        return iter(self.readings.pop(0))


GOOD = torch.zeros(4, 6)


@pytest.mark.parametrize("learn", [kmeans, trees])
@pytest.mark.parametrize(
    "data, k, v, error, message",
    [
        (GOOD, 3, 2, ValueError, "{} k must be a power of two from 2 to 256, not 3"),
        (GOOD, 1, 2, ValueError, "{} k must be a power of two from 2 to 256, not 1"),
        (GOOD, 512, 2, ValueError, "{} k must be a power of two from 2 to 256, not 512"),
        (GOOD, 2.0, 2, TypeError, "{} k must be an integer, not 2.0"),
        (GOOD, 2, 0, ValueError, "{} v must be from 1 to 4096, not 0"),
        (GOOD, 2, True, TypeError, "{} v must be an integer, not True"),
        (GOOD, 8, 2, ValueError, "{} data must have at least K rows, 8, not 4"),
        ([GOOD, GOOD[:3]], 8, 2, ValueError, "{} data must have at least K rows, 8, not 7"),
        ([], 2, 2, ValueError, "{} data must have at least one row"),
        (GOOD[:0], 2, 2, ValueError, "{} data must have at least one row"),
        (iter([GOOD]), 2, 2, TypeError, "{} data must be a tensor, or tensors that can be read again, not .*iterator"),
        (3, 2, 2, TypeError, "{} data must be a tensor, or tensors that can be read again, not int"),
        (GOOD.int(), 2, 2, TypeError, "{} data must be a tensor of floats, not torch.int32"),
        ([[1.0]], 2, 2, TypeError, "{} data must be a tensor of floats, not list"),
        (GOOD[0], 2, 2, ValueError, r"{} data must be \[rows, features\], not \[6\]"),
        (GOOD[:, :0], 2, 2, ValueError, r"{} data must be \[rows, features\], not \[4, 0\]"),
        ([GOOD, GOOD[:, :5]], 2, 2, ValueError, "{} data must have 6 features in every batch, not 5"),
        (GOOD.clone().fill_(torch.nan), 2, 2, ValueError, "{} data must be finite"),
        ([GOOD, GOOD - torch.inf], 2, 2, ValueError, "{} data must be finite"),
        (GOOD - 1e30, 2, 2, ValueError, r"{} data must be at most 2\^60 in magnitude, not 1e\+30"),
    ],
)
def test_refusals_of_data(learn, data, k, v, error, message):
    with pytest.raises(error, match=f"^{message.format(learn.__name__)}$"):
        learn(data, k, v)


def test_refusals_of_kmeans():
    with pytest.raises(ValueError, match=r"^kmeans iterations must not be negative, not -1$"):
        kmeans(GOOD, 2, 2, iterations=-1)
    with pytest.raises(TypeError, match=r"^kmeans iterations must be an integer, not 1.5$"):
        kmeans(GOOD, 2, 2, iterations=1.5)
    with pytest.raises(ValueError, match=r"^kmeans data must be the same each time it is read: 4 rows, not 8$"):
        kmeans(Twice([GOOD], [GOOD, GOOD]), 2, 2)


@pytest.mark.parametrize("metric, order", [("l2", 2), ("l1", 1), ("chebyshev", np.inf)])
def test_nearest(metric, order):
    data, prototypes = activations(9, 300, 10), torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0)) * 5
    found = nearest([data[:100], data[100:]], prototypes, metric, fill=1.0)
    away = np.linalg.norm(cut(data, 4, 1.0)[:, :, None] - prototypes.double().numpy()[:, None], order, axis=-1)
    assert np.array_equal(found.numpy().T, away.argmin(-1))
    assert nearest(torch.zeros(1, 2), torch.tensor([[[3.0, 4], [4, 3], [0, 5], [9, 9]]]), metric).item() in (0, 2)


def test_refusals_of_nearest():
    with pytest.raises(ValueError, match=r"^nearest metric must be one of l2, l1, chebyshev, not tree$"):
        nearest(GOOD, torch.zeros(3, 4, 2), "tree")
    with pytest.raises(ValueError, match=r"^nearest data must be of 2 sub-vectors, not 3$"):
        nearest(GOOD, torch.zeros(2, 4, 2))


def tree_oracle(x, depth):
    """Dimensions and thresholds of one codebook [N, v], by trying every cut."""
    buckets, dimensions, thresholds = [x], [], []
    for _ in range(depth):
        options = []
        for dimension in range(x.shape[1]):
            total, cuts = 0.0, []
            for bucket in buckets:
                values = np.unique(bucket[:, dimension])
                best = (((bucket - bucket.mean(0)) ** 2).sum(), values[0])
                for low, high in zip(values, values[1:]):
                    parts = bucket[bucket[:, dimension] <= low], bucket[bucket[:, dimension] >= high]
                    error = sum(((part - part.mean(0)) ** 2).sum() for part in parts)
                    if error < best[0] - 1e-9:
                        best = (error, (low + high) / 2)
                total += best[0]
                cuts.append(best[1])
            options.append((total, dimension, cuts))
        best = min(option[0] for option in options)
        _, dimension, cuts = next(option for option in options if option[0] <= best + 1e-9)
        dimensions.append(dimension)
        thresholds += cuts
        pairs = [
            (bucket[bucket[:, dimension] < t], bucket[bucket[:, dimension] >= t]) for bucket, t in zip(buckets, cuts)
        ]
        buckets = [part for pair in pairs for part in pair]
        if any(len(part) == 0 for part in buckets):
            break
    return dimensions, thresholds


@pytest.mark.parametrize(
    "seed, features, v, k", [(0, 6, 3, 8), (1, 4, 4, 4), (2, 3, 1, 8), (3, 7, 5, 16), (4, 5, 2, 2)]
)
def test_trees_by_trying_every_cut(seed, features, v, k):
    data = activations(seed, 90, features)
    found = trees(data, k, v)
    assert found.dimensions.dtype == torch.int64 and found.thresholds.dtype == torch.float32
    assert found.thresholds.shape == (-(-features // v), k - 1)
    for codebook, x in enumerate(cut(data, v)):
        dimensions, thresholds = tree_oracle(x, k.bit_length() - 1)
        assert len(dimensions) == k.bit_length() - 1
        assert found.dimensions[codebook].tolist() == dimensions
        assert found.thresholds[codebook].tolist() == pytest.approx(thresholds, rel=1e-5, abs=1e-5)


def test_a_tree_by_hand():
    data = torch.tensor([[0.0, 0], [0, 2], [10, 0], [10, 20]])
    found = trees(data, 4, 2)
    # Level 0: input 0 at 5 leaves 2 + 200; input 1 at 11 leaves 66 2/3 + 2 2/3, the least. Level 1: input 0 at 5
    # leaves 2 on the left, input 1 at 1 leaves 50. On the right (10, 20) is alone.
    assert found.dimensions.tolist() == [[1, 0]]
    assert found.thresholds.tolist() == [[11, 5, 10]]
    assert tree_leaves(data, found, 2).flatten().tolist() == [0, 0, 1, 3]


@pytest.mark.parametrize("seed", range(3))
def test_trees_of_integers_are_those_of_units(seed):
    random = np.random.default_rng(seed)
    codes = torch.from_numpy(random.integers(-128, 128, (400, 22)) // random.integers(1, 60, 22))
    found = trees(codes.float(), 16, 4, fill=3.0)
    unit = LutMatmul(
        encoder="tree",
        features=22,
        v=4,
        zero_point=3,
        thresholds=found.thresholds.ceil().int().numpy(),
        dimensions=found.dimensions.numpy(),
        table=np.zeros((6, 16, 1), int),
    )
    leaves = tree_leaves(codes.float(), found, 4, fill=3.0)
    assert torch.equal(unit.encode(codes), leaves)
    assert (leaves[:, 0].bincount(minlength=16) > 0).sum() > 8


def test_padding_is_compared_only_where_all_is_padding():
    data = activations(10, 200, 5)
    assert trees(data, 16, 4).dimensions[1].tolist() == [0] * 4
    constant = trees(torch.ones(20, 5), 4, 4)
    assert constant.thresholds.isfinite().all()
    assert (tree_leaves(torch.ones(20, 5), constant, 4) == 3).all()


def test_neighbouring_floats_are_parted():
    low = torch.tensor(1.0)
    high = torch.nextafter(low, torch.tensor(2.0))
    data = torch.stack([low, high] * 4)[:, None]
    assert torch.equal(tree_leaves(data, trees(data, 2, 1), 1)[:, 0], (data[:, 0] == high).long())


def test_wide_sub_vectors_try_the_inputs_that_vary_most():
    random = torch.Generator().manual_seed(0)
    data = torch.randn(300, 80, generator=random) * 1e-3
    data[:, 70] += 5 * torch.randint(0, 2, (300,), generator=random)
    found = trees(data, 4, 80)
    assert found.dimensions[0, 0] == 70 and 1 < found.thresholds[0, 0] < 4


def one_hot(indices, k):
    return np.eye(k)[indices.numpy()].reshape(len(indices), -1)


def problem(seed, rows=150, codebooks=4, k=4, outputs=3):
    random = torch.Generator().manual_seed(seed)
    indices = torch.randint(0, k, (rows, codebooks), generator=random)
    targets = torch.randn(rows, outputs, generator=random) + indices.sum(1, keepdim=True)
    return indices, targets, torch.randn(codebooks, k, outputs, generator=random)


def objective(table, indices, targets, ridge, prior):
    table, prior = table.double().numpy(), prior.double().numpy()
    away = one_hot(indices, table.shape[1]) @ table.reshape(-1, table.shape[2]) - targets.double().numpy()
    return (away**2).sum() + ridge * ((table - prior) ** 2).sum()


@pytest.mark.parametrize("ridge", [1e-3, 1, 30])
@pytest.mark.parametrize("factored", [True, False])
def test_refit_is_the_least_squares_solution(ridge, factored, monkeypatch):
    monkeypatch.setattr("hwlut.codebooks.ridge._FACTORED", 1 << 13 if factored else 1)
    indices, targets, prior = problem(int(ridge))
    found = refit(indices, targets, 4, ridge=ridge, prior=prior)
    rows = np.concatenate([one_hot(indices, 4), np.sqrt(ridge) * np.eye(16)])
    right = np.concatenate([targets.double().numpy(), np.sqrt(ridge) * prior.double().numpy().reshape(16, 3)])
    expected = np.linalg.lstsq(rows, right, rcond=None)[0].reshape(4, 4, 3)
    assert found.dtype == torch.float32
    assert np.abs(found.numpy() - expected).max() < 2e-6 * np.abs(expected).max()
    none = refit(indices, targets, 4, ridge=ridge)
    assert torch.allclose(none, refit(indices, targets, 4, ridge=ridge, prior=torch.zeros_like(prior)), atol=1e-6)


def test_refit_is_an_optimum():
    indices, targets, prior = problem(5)
    found = refit(indices, targets, 4, ridge=2.0, prior=prior)
    least = objective(found, indices, targets, 2.0, prior)
    random = torch.Generator().manual_seed(0)
    for _ in range(20):
        moved = found + 1e-2 * torch.randn(found.shape, generator=random)
        assert objective(moved, indices, targets, 2.0, prior) > least


def test_a_large_ridge_gives_the_prior():
    indices, targets, prior = problem(6)
    assert torch.allclose(refit(indices, targets, 4, ridge=1e12, prior=prior), prior, atol=1e-6)
    assert refit(indices, targets, 4, ridge=1e12).abs().max() < 1e-6


@pytest.mark.parametrize("factored", [True, False])
def test_what_is_never_chosen_stays_at_the_prior(factored, monkeypatch):
    monkeypatch.setattr("hwlut.codebooks.ridge._FACTORED", 1 << 13 if factored else 1)
    indices, targets, prior = problem(7)
    indices[:, 2] = indices[:, 2].clamp(max=2)
    found = refit(indices, targets, 4, ridge=0.5, prior=prior)
    assert torch.equal(found[2, 3], prior[2, 3])
    assert not torch.isclose(found[2, :3], prior[2, :3]).any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 20), st.sampled_from([1e-4, 0.1, 1.0, 100.0]), st.integers(1, 60))
def test_refit_is_no_worse_on_its_own_rows_than_the_prior(seed, ridge, rows):
    indices, targets, prior = problem(seed, rows)
    found = refit(indices, targets, 4, ridge=ridge, prior=prior)
    before, after = (objective(table, indices, targets, 0, prior) for table in (prior, found))
    assert after <= before * (1 + 1e-5)


def test_refit_of_batches_and_scales(monkeypatch):
    indices, targets, prior = problem(8)
    whole = refit(indices, targets, 4, prior=prior)
    for factored in (1 << 13, 1):
        monkeypatch.setattr("hwlut.codebooks.ridge._FACTORED", factored)
        streamed = refit_batches(zip(indices.split(40), targets.split(40)), 4, prior=prior)
        assert torch.allclose(streamed, whole, atol=1e-6)
    assert torch.allclose(refit(indices.int(), targets * 1e4, 4, prior=prior * 1e4), whole * 1e4, rtol=1e-5, atol=1e-2)


def test_many_rows_are_counted_exactly(monkeypatch):
    monkeypatch.setattr("hwlut.codebooks.onehot._CACHED", 30)
    from hwlut.codebooks.onehot import coincidences, gathered, summed

    indices, targets, table = problem(9, rows=333, codebooks=5)
    matrix = one_hot(indices, 4)
    assert np.array_equal(coincidences(indices, 4).numpy(), matrix.T @ matrix)
    wide = torch.randint(0, 16, (200, 9), generator=torch.Generator().manual_seed(9))
    assert np.array_equal(coincidences(wide, 16).numpy(), one_hot(wide, 16).T @ one_hot(wide, 16))
    assert np.allclose(summed(indices, targets, 4).flatten(0, 1).numpy(), matrix.T @ targets.double().numpy())
    assert np.allclose(gathered(indices, table).numpy(), matrix @ table.flatten(0, 1).numpy(), atol=1e-5)


def test_ridge_prototypes():
    data = activations(11, 30, 7)
    found = trees(data, 8, 3)
    indices = tree_leaves(data, found, 3)
    prototypes = ridge_prototypes(data, indices, 8, 3, ridge=1.0)
    assert prototypes.shape == (3, 8, 7)
    # Means of the buckets on a codebook's own inputs, then a ridge regression of what is left.
    x, matrix = data.double().numpy(), one_hot(indices, 8)
    first = np.zeros((3, 8, 7))
    for c in range(3):
        for k in range(8):
            members = x[indices[:, c].numpy() == k]
            if len(members):
                first[c, k, 3 * c : 3 * c + 3] = members[:, 3 * c : 3 * c + 3].mean(0)
    assert 1 in matrix.sum(0)
    left = x - matrix @ first.reshape(24, 7)
    rest = np.linalg.solve(matrix.T @ matrix + np.eye(24), matrix.T @ left)
    assert np.allclose(prototypes.numpy(), first + rest.reshape(3, 8, 7), atol=1e-4)


INDICES, TARGETS = torch.zeros(5, 2, dtype=torch.int64), torch.zeros(5, 3)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"indices": INDICES.float()}, TypeError, "refit indices must be integers, not torch.float32"),
        ({"targets": INDICES}, TypeError, "refit targets must be floats, not torch.int64"),
        ({"indices": INDICES + 4}, ValueError, "refit indices must be from 0 to 3, not 4"),
        ({"indices": INDICES - 1}, ValueError, "refit indices must be from 0 to 3, not -1"),
        ({"targets": TARGETS / 0}, ValueError, "refit targets must be finite"),
        (
            {"targets": TARGETS[:4]},
            ValueError,
            r"refit indices and targets must be \[rows, codebooks\] and \[rows, outputs\], not \[5, 2\] and \[4, 3\]",
        ),
        ({"ridge": 0}, ValueError, "refit ridge must be positive and finite, not 0"),
        ({"ridge": float("inf")}, ValueError, "refit ridge must be positive and finite, not inf"),
        ({"ridge": "1"}, TypeError, "refit ridge must be a number, not '1'"),
        (
            {"prior": torch.zeros(2, 4, 2)},
            ValueError,
            r"refit prior must be of shape \[2, 4, 3\], not \[2, 4, 2\]",
        ),
    ],
)
def test_refusals_of_refit(arguments, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        refit(**({"indices": INDICES, "targets": TARGETS, "k": 4} | arguments))


def test_refusals_of_batches():
    with pytest.raises(ValueError, match=r"^refit batches must be at least one$"):
        refit_batches([], 4)
    message = "refit batches must all be of 2 codebooks and 3 outputs, not 1 and 3"
    with pytest.raises(ValueError, match=f"^{message}$"):
        refit_batches([(INDICES, TARGETS), (INDICES[:, :1], TARGETS)], 4)
    with pytest.raises(ValueError, match=r"^ridge_prototypes indices must be of 3 codebooks, not 2$"):
        ridge_prototypes(GOOD[:, :3].repeat(2, 2)[:5], INDICES, 4, 2)


@pytest.mark.cuda
def test_the_same_on_a_gpu():
    data = activations(12, 2000, 30)
    here, there = kmeans(data, 16, 4, iterations=3), kmeans(data.cuda(), 16, 4, iterations=3)
    assert torch.allclose(there.prototypes.cpu(), here.prototypes, atol=1e-3)
    assert there.error == pytest.approx(here.error, rel=1e-4)
    ours, theirs = trees(data, 16, 4), trees(data.cuda(), 16, 4)
    assert torch.equal(theirs.dimensions.cpu(), ours.dimensions)
    assert torch.allclose(theirs.thresholds.cpu(), ours.thresholds, atol=1e-3)
    indices = tree_leaves(data, ours, 4)
    assert torch.equal(tree_leaves(data.cuda(), theirs, 4).cpu(), indices)
    table = refit(indices, data, 16)
    assert torch.allclose(refit(indices.cuda(), data.cuda(), 16).cpu(), table, atol=1e-4)
