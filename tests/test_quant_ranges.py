"""How values seen become ranges: extremes, averages, percentiles, least error; against numpy."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from hwlut import Fixed
from hwlut.quant import Quantizer
from hwlut.quant.choice import observe_together
from hwlut.quant.distribution import Distribution

S8, U8, S4 = Fixed(8), Fixed(8, signed=False), Fixed(4)


def reals(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3 + 0.5


def seen(format, *batches, **arguments):
    quantizer = Quantizer(format, **{"steps": "real", **arguments})
    quantizer.start()
    for batch in batches:
        quantizer.observe(batch)
    return quantizer


def test_minmax_is_that_of_all_batches():
    batches = [reals(50, 4, seed=seed) for seed in range(5)]
    whole = torch.cat(batches).numpy()
    quantizer = seen(U8, *batches, method="minmax", symmetric=False, granularity="channel", axis=-1)
    low, high = np.minimum(whole.min(0), 0), np.maximum(whole.max(0), 0)
    np.testing.assert_allclose(quantizer.step.numpy(), (high - low) / 255, rtol=1e-6)
    np.testing.assert_array_equal(quantizer.zero_point.numpy(), -np.rint(low / quantizer.step.numpy()))


@pytest.mark.parametrize("percentile", [50, 90, 99, 99.9, 99.99, 100])
@pytest.mark.parametrize("batches", [1, 7])
def test_percentile_of_magnitudes_is_numpys(percentile, batches):
    x = reals(5003)  # no percentile falls on a whole rank, which numpy, in floats, may take for the next
    quantizer = seen(S8, *x.chunk(batches), method="percentile", percentile=percentile)
    end = np.percentile(np.abs(x.numpy()), percentile, method="inverted_cdf")
    # The range is cut at both ends, and an end that no value reaches is not stretched to it.
    wanted = max(min(end, x.max()) / 127, min(end, -x.min()) / 128)
    assert quantizer.step.item() == pytest.approx(float(wanted), rel=1e-6)
    held = np.abs(x.numpy()) <= end
    assert held.mean() >= percentile / 100 and (held & (np.abs(x.numpy()) < end)).mean() < percentile / 100


@pytest.mark.parametrize("percentile", [60, 98, 99.5])
def test_percentiles_with_a_zero_point_cut_both_ends_alike(percentile):
    x = reals(3000, 3) * torch.tensor([1.0, 7.0, 100.0])
    quantizer = seen(
        S8, *x.chunk(4), method="percentile", percentile=percentile, symmetric=False, granularity="channel", axis=1
    )
    each = (100 + percentile) / 2
    high = np.percentile(x.numpy(), each, axis=0, method="inverted_cdf")
    low = -np.percentile(-x.numpy(), each, axis=0, method="inverted_cdf")
    np.testing.assert_allclose(quantizer.step.numpy(), (high - low) / 255, rtol=1e-6)
    np.testing.assert_array_equal(quantizer.zero_point.numpy(), -128 - np.rint(low / quantizer.step.numpy()))


def test_percentile_of_unsigned_codes_counts_negatives_as_zero():
    x = reals(4000)
    quantizer = seen(U8, x, method="percentile", percentile=97)
    wanted = np.percentile(np.maximum(x.numpy(), 0), 97, method="inverted_cdf") / 255
    assert quantizer.step.item() == pytest.approx(wanted, rel=1e-6)
    powers = seen(U8, x, method="percentile", percentile=97, steps="power_of_two")
    assert powers.scale == np.floor(np.log2(255.5 / 255 / wanted))


@pytest.mark.parametrize("percentile", [90.0, 99.9])
def test_many_values_are_known_to_the_stated_error(percentile):
    batches = [reals(40_001, seed=seed) for seed in range(3)]
    quantizer = seen(S8, *batches, method="percentile", percentile=percentile)
    error = quantizer.observer.distribution.error
    assert 0 < error <= 2.0**-12
    whole = torch.cat(batches).abs().numpy()
    wanted = np.percentile(whole, percentile, method="inverted_cdf") / 127
    assert quantizer.step.item() == pytest.approx(wanted, rel=1.01 * error)


def test_distribution_keeps_counts_whatever_is_put_together():
    generator = torch.Generator().manual_seed(3)
    kept = Distribution(3, torch.device("cpu"))
    kept.limit = 200
    parts = [torch.randn(3, 500, generator=generator) * 10.0**power for power in range(-3, 4)]
    parts.append(torch.tensor([0.0, -0.0, 1e-40, -1e-40, 3.4e38, -3.4e38]).expand(3, 6))
    for part in parts:
        kept.add(part)
    whole = torch.cat(parts, dim=1)
    assert len(kept.values) <= 200 and kept.dropped > 0
    for group in range(3):
        own = kept.groups == group
        assert int(kept.counts[own].sum()) == whole.shape[1]
        assert (kept.values[own].diff() > 0).all()
        ordered = whole[group].sort().values
        known = kept.values[own].repeat_interleave(kept.counts[own])
        normal = ordered.abs() > 1e-37
        assert ((known - ordered).abs()[normal] <= kept.error * ordered.abs()[normal] * 1.0001).all()
    sums = kept.sums(torch.ones(len(kept.values), dtype=torch.float64))
    assert sums.tolist() == [whole.shape[1]] * 3


def test_distribution_is_exact_below_its_limit():
    rows = reals(2, 3000)
    kept = Distribution(2, torch.device("cpu"))
    for part in rows.split(700, dim=1):
        kept.add(part)
    assert kept.error == 0.0
    for group in range(2):
        values, counts = np.unique(rows[group].numpy(), return_counts=True)
        own = kept.groups == group
        assert kept.values[own].tolist() == values.tolist() and kept.counts[own].tolist() == counts.tolist()
    ends = kept.percentile(kept.values, Fraction(100))
    assert torch.equal(ends, rows.amax(1))


def squared_error(x, step, zero, format):
    held = np.clip(np.rint(x / step), format.min - zero, format.max - zero) * step
    return float(np.square(held.astype(np.float64) - x).sum())


@pytest.mark.parametrize("format", [S4, S8, U8], ids=str)
def test_mse_is_the_least_over_hundredths(format):
    x = torch.cat([reals(2000), torch.tensor([40.0, -25.0])])
    values = x.numpy()
    quantizer = seen(format, *x.split(300), method="mse")
    whole = seen(format, x, method="minmax").step.numpy()
    errors = [squared_error(values, whole * np.float32(part / 100), 0, format) for part in range(1, 101)]
    own = squared_error(values, quantizer.step.numpy(), 0, format)
    assert own == pytest.approx(min(errors), rel=1e-6)
    assert format != S4 or own < errors[-1] * 0.9


def test_mse_takes_the_coarsest_of_equals():
    assert seen(S8, torch.tensor([3.0, -1.0]), steps="power_of_two", method="mse").scale == 0


def test_mse_of_each_channel_and_with_zero_points_beats_minmax():
    x = torch.cat([reals(2000, 3).abs(), torch.full((2, 3), 30.0)]) * torch.tensor([1.0, -10.0, 0.1])
    options = dict(granularity="channel", axis=1, symmetric=False)
    best, whole = (seen(S4, x, method=method, **options) for method in ("mse", "minmax"))
    for channel in range(3):
        values = x[:, channel].numpy()
        ours, theirs = (
            squared_error(values, q.step[channel].numpy(), int(q.zero_point[channel]), S4) for q in (best, whole)
        )
        assert ours < theirs * 0.8
        alone = seen(S4, x[:, channel], method="mse", symmetric=False)
        assert alone.step == best.step[channel] and alone.zero_point == best.zero_point[channel]


def test_averages_start_at_the_first_batch_and_move_by_the_momentum():
    batches = [torch.tensor([-1.0, 2.0]), torch.tensor([-3.0, 4.0]), torch.tensor([0.5, 10.0])]
    quantizer = seen(U8, *batches, method="ema", momentum=0.25, symmetric=False)
    low = 0.75 * (0.75 * -1 + 0.25 * -3) + 0.25 * 0
    high = 0.75 * (0.75 * 2 + 0.25 * 4) + 0.25 * 10
    assert (quantizer.low.item(), quantizer.high.item()) == pytest.approx((low, high))
    assert quantizer.step.item() == pytest.approx((high - low) / 255)
    quantizer.start()
    quantizer.observe(torch.tensor([5.1]))
    assert quantizer.step.item() == pytest.approx(0.02)


def test_power_of_two_steps_hold_the_range():
    x = reals(64, 5) * torch.tensor([0.01, 0.1, 1.0, 10.0, 100.0])
    for method in ("minmax", "percentile", "mse", "ema"):
        quantizer = seen(S8, x, steps="power_of_two", method=method, granularity="channel", axis=1)
        for channel in range(5):
            alone = seen(S8, x[:, channel], steps="power_of_two", method=method)
            assert quantizer.scale[channel] == alone.scale
        assert torch.equal(quantizer.quantize(x).step[0], 2.0 ** -quantizer.scale.float())
    for scales in ((-3, 0, 2, 9), (4,)):
        quantizer = seen(S8, x, steps="power_of_two", scales=scales, granularity="channel", axis=1, method="minmax")
        assert set(quantizer.scale.tolist()) <= set(scales)
        fits = [
            [
                s
                for s in scales
                if float((x[:, c] * 2.0**s).round().clamp(-128, 127).sub((x[:, c] * 2.0**s).round()).abs().max()) == 0
            ]
            for c in range(5)
        ]
        assert quantizer.scale.tolist() == [max(fit, default=scales[0]) for fit in fits]


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "ema"])
def test_half_precision_values_are_seen_as_they_are(method):
    x = reals(500)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert seen(S8, x.to(dtype), method=method).step == seen(S8, x.to(dtype).float(), method=method).step


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "ema"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_values_that_are_not_finite_are_refused(method, bad):
    quantizer = seen(S8, reals(10), method=method)
    before = quantizer.step.clone()
    with pytest.raises(ValueError) as caught:
        quantizer.observe(torch.tensor([1.0, bad], dtype=torch.float64))
    assert str(caught.value) == "calibration values must be finite"
    assert torch.equal(quantizer.step, before)


@pytest.mark.parametrize("method", ["mse", "percentile", "minmax", "ema"])
def test_quantizers_that_observe_together_choose_as_each_alone_would_and_remember_values_once(method: str) -> None:
    formats = Fixed(2), Fixed(3), Fixed(8)
    together, alone = ([Quantizer(each, steps="real", method=method) for each in formats] for _ in range(2))
    late = Quantizer(Fixed(4), steps="real", method=method)
    late_alone = Quantizer(Fixed(4), steps="real", method=method)
    for each in (*together, *alone):
        each.start()
    for place in range(3):
        x = torch.randn(500, generator=torch.Generator().manual_seed(place)) * (place + 1)
        if place == 1:
            late.start()
            late_alone.start()
        observe_together([*together, late] if place else together, x)
        for each in (*alone, late_alone) if place else alone:
            each.observe(x)
        for one, other in zip((*together, late), (*alone, late_alone)):
            assert torch.equal(one.step, other.step) or one is late and not place
    if method != "ema":
        assert len({id(each.observer) for each in together}) == 1 and late.observer is not together[0].observer
