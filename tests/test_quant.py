"""The quantizer: codes, values, gradients, the choice of scales, states."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from hwlut import Fixed
from hwlut.fixed import power_of_two
from hwlut.quant import Quantizer, calibrate


def test_powers_of_two():
    exponents = torch.arange(-126, 128, dtype=torch.int32)
    assert power_of_two(exponents).tolist() == [2.0**e for e in range(-126, 128)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_codes_and_values_by_hand(dtype):
    quantizer = Quantizer(Fixed(4, 2))
    x = torch.tensor([0.125, 0.375, -0.125, -0.375, 1.0, 1.75, 1.9, -2.0, -2.2, math.inf, -math.inf], dtype=dtype)
    codes = [0, 2, 0, -2, 4, 7, 7, -8, -8, 7, -8]
    assert quantizer.codes(x).tolist() == codes and quantizer.codes(x).dtype == torch.int32
    assert quantizer(x).tolist() == [code / 4 for code in codes] and quantizer(x).dtype == dtype
    assert quantizer.values(torch.tensor(codes)).tolist() == [code / 4 for code in codes]
    assert Quantizer(Fixed(3, 1, signed=False)).codes(x[:8]).tolist() == [0, 1, 0, 0, 2, 4, 4, 0]


def test_nan_stays_nan_and_has_code_zero():
    quantizer = Quantizer(Fixed(8, 0))
    assert quantizer(torch.tensor([math.nan, 1.0])).isnan().tolist() == [True, False]
    assert quantizer.codes(torch.tensor([math.nan])).tolist() == [0]


def test_wide_codes_are_exact():
    quantizer = Quantizer(Fixed(24, 23))
    codes = torch.tensor([-(1 << 23), -(1 << 23) + 1, -1, 0, 1, (1 << 23) - 1])
    assert torch.equal(quantizer.codes(quantizer.values(codes)), codes.int())
    assert torch.equal(quantizer(quantizer.values(codes)), quantizer.values(codes))


def test_gradient_passes_inside_the_range_only():
    x = torch.tensor([-9.0, -2.13, -2.12, 0.3, 1.86, 1.88, 5.0], requires_grad=True)  # codes -8 .. 7 over 4
    (Quantizer(Fixed(4, 2))(x) * torch.arange(1.0, 8.0)).sum().backward()
    assert x.grad.tolist() == [0, 0, 3, 4, 5, 0, 0]


def learned(bits, exponent, scales=None):
    quantizer = Quantizer(Fixed(bits), scales, source="learned")
    quantizer.load_state_dict({"exponent": torch.tensor(float(exponent))})
    return quantizer


def test_gradient_of_a_learned_scale():
    quantizer = learned(4, 1.8)  # rounds to 2
    x = torch.tensor([0.3, -0.7, 9.0, -9.0], requires_grad=True)
    y = quantizer(x)
    assert y.tolist() == [0.25, -0.75, 1.75, -2.0]
    (y * torch.tensor([1.0, 10.0, 100.0, 1000.0])).sum().backward()
    # ds: -ln 2 * 2^-s times (code - x 2^s) inside the range and times the end code outside it.
    want = -math.log(2) / 4 * (1 * (1 - 1.2) + 10 * (-3 + 2.8) + 100 * 7 + 1000 * -8)
    assert quantizer.exponent.grad.item() == pytest.approx(want, rel=1e-5)
    assert x.grad.tolist() == [1, 10, 0, 0]


def test_learned_scale_finds_the_range():
    torch.manual_seed(0)
    x = torch.randn(500)
    quantizer = learned(4, 5)
    optimizer = torch.optim.SGD([quantizer.exponent], lr=1.0)
    for _ in range(30):
        optimizer.zero_grad()
        (quantizer(x) - x).square().mean().backward()
        optimizer.step()
    errors = {s: float((Quantizer(Fixed(4, s))(x) - x).square().mean()) for s in range(6)}
    best, second = sorted(errors, key=errors.get)[:2]
    assert int(quantizer.current_scale()) in (best, second)  # it swings between the two


def test_learned_scale_stays_among_its_choices():
    for exponent, scale in ((-9.0, 0), (1.4, 0), (1.6, 3), (4.1, 5), (70.0, 5)):
        assert int(learned(8, exponent, (0, 3, 5)).current_scale()) == scale


def chosen(method, *batches, bits=8, scales=range(-4, 12)):
    quantizer = Quantizer(Fixed(bits), tuple(scales), method=method)
    quantizer.start()
    for batch in batches:
        quantizer.observe(torch.as_tensor(batch))
    return int(quantizer.scale)


def test_minmax_takes_the_finest_scale_that_holds_everything():
    assert chosen("minmax", [1.0, -1.0]) == 6  # 2^7 would need the code 128
    assert chosen("minmax", [-1.0]) == 7
    assert chosen("minmax", [0.1], [3.9, 0.0]) == 5  # 3.9 * 32 = 124.8
    assert chosen("minmax", [3.99]) == 4  # 3.99 * 32 rounds to 128
    assert chosen("minmax", [0.0]) == 11
    assert chosen("minmax", [1e6]) == -4


def test_percentile_lets_one_in_a_thousand_go():
    body = torch.full((9990,), 0.9)
    assert chosen("percentile", torch.cat([body, torch.full((10,), 100.0)])) == 7
    assert chosen("percentile", torch.cat([body, torch.full((11,), 100.0)])) == 0


def test_mse_takes_the_scale_of_least_error():
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(5000, generator=generator), torch.full((3,), 9.0)])
    errors = {s: float((Quantizer(Fixed(4, s))(x) - x).double().square().sum()) for s in range(7)}
    assert chosen("mse", x[:100], x[100:], bits=4, scales=range(7)) == min(errors, key=errors.get)


def model():
    return nn.Sequential(Quantizer(Fixed(8)), nn.Linear(3, 3), nn.Dropout(0.5), Quantizer(Fixed(8), method="minmax"))


def test_calibration_sees_every_batch_and_leaves_modes():
    torch.manual_seed(0)
    net = model()
    net[1].eval()
    calibrate(net, [torch.ones(2, 3), (torch.full((2, 3), 3.1),), {"input": torch.zeros(1, 3)}])
    assert int(net[0].scale) == 5 and net[0].calibrated  # 3.1 * 32 = 99.2
    assert [module.training for module in net] == [True, False, True, True]
    assert net[0].observer is None
    before = net.state_dict()
    net(torch.full((1, 3), 100.0))
    assert torch.equal(net.state_dict()["0.scale"], before["0.scale"])


def test_what_is_no_data_for_calibration_is_refused():
    images = torch.ones(2, 3)
    pair = (
        "calibration data must be batches that the model is called with, such as (images for images, _ in loader), not"
        " of 2 arguments: too many positional arguments"
    )
    for data, message in (
        (images, "calibration data must be batches, such as [x], not a tensor"),
        ([(images, torch.zeros(2))], pair),
        ([[images, torch.zeros(2)]], pair),
    ):
        with pytest.raises(TypeError) as caught:
            calibrate(model(), data)
        assert str(caught.value) == message

    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.quantizer = Quantizer(Fixed(8))

        def forward(self, x, y):
            return nn.Identity()(x, y)

    with pytest.raises(TypeError, match="Identity") as caught:  # the model's own error, as it is
        calibrate(Fails(), [(images, images)])
    assert "calibration" not in str(caught.value)


def test_what_is_no_tensor_is_refused():
    for source in ("static", "dynamic"):
        quantizer = Quantizer(Fixed(8), source=source)
        calls = [quantizer, quantizer.quantize, quantizer.codes, quantizer.observe, quantizer.follow]
        for call in calls + [quantizer.values] * (source == "static"):
            with pytest.raises(TypeError) as caught:
                call([1.0])
            assert str(caught.value) == "Quantizer input must be a tensor, not list"


def test_calibration_of_weights():
    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "weight", Quantizer(Fixed(8, 7)))
    assert torch.equal(layer.weight * 128, (layer.weight * 128).round())


def test_state_round_trip():
    for source, key in (("static", "scale"), ("learned", "exponent")):
        first = Quantizer(Fixed(8), source=source)
        first.observe(torch.tensor([3.0]))
        copy = Quantizer(Fixed(8), source=source)
        copy.load_state_dict(first.state_dict())
        assert copy.calibrated and int(copy.current_scale()) == int(first.current_scale())
        assert set(first.state_dict()) == {key}
        copy.load_state_dict(Quantizer(Fixed(8), source=source).state_dict())
        assert not copy.calibrated


BAD_STATES = {
    "other scale": (False, torch.tensor(3), "scale must be one of (0, 1, 2), not 3"),
    "between scales": (False, torch.tensor(0.5), "scale must be one of (0, 1, 2), not 0.5"),
    "two scales": (False, torch.tensor([0, 1]), "scale must be one number, not [0, 1]"),
    "infinite exponent": (True, torch.tensor(-math.inf), "exponent must be a finite number, not -inf"),
    "too wide": (True, torch.tensor(1e300, dtype=torch.float64), "exponent must be a finite number, not 1e+300"),
    "no exponent": (True, torch.zeros(0), "exponent must be one number, not []"),
}


@pytest.mark.parametrize("label", BAD_STATES)
def test_bad_states_are_refused(label):
    is_learned, value, message = BAD_STATES[label]
    quantizer = Quantizer(Fixed(8), range(3), source="learned" if is_learned else "static")
    quantizer.observe(torch.tensor([30.25]))
    with pytest.raises(RuntimeError) as caught:
        quantizer.load_state_dict({"exponent" if is_learned else "scale": value})
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [message]
    assert quantizer.calibrated and int(quantizer.current_scale()) == 2


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own imports
@pytest.mark.parametrize("source", ["static", "learned"])
def test_compile_and_export(source):
    quantizer = Quantizer(Fixed(8), source=source)
    quantizer.observe(torch.tensor([3.0]))
    x = torch.randn(5, 3)
    assert torch.equal(torch.compile(quantizer, fullgraph=True, backend="aot_eager_decomp_partition")(x), quantizer(x))
    program = torch.export.export(quantizer, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert torch.equal(program.module()(x[:2]), quantizer(x[:2]))


def test_shown_in_one_line():
    assert str(Quantizer(Fixed(8, 5))) == "Quantizer(s8, scale 5)"
    assert (
        str(Quantizer(Fixed(8, signed=False), range(3), source="learned"))
        == "Quantizer(u8, scale one of 0 to 2, learned)"
    )


def test_bad_arguments_are_refused():
    cases = [
        (lambda: Quantizer(8), TypeError, "Quantizer format must be a Fixed or a Minifloat, not 8"),
        (lambda: Quantizer(Fixed(25)), ValueError, "Quantizer format bits must be from 2 to 24, not 25"),
        (
            lambda: Quantizer(Fixed(8, 3), source="learned"),
            ValueError,
            "Quantizer format must have no frac where the scale is chosen, not 3",
        ),
        (
            lambda: Quantizer(Fixed(8), (3, 1)),
            ValueError,
            "Quantizer scales must be ascending from -62 to 62 and at least one, not (3, 1)",
        ),
        (lambda: Quantizer(Fixed(8), (0.5,)), TypeError, "Quantizer scales must be integers, not (0.5,)"),
        (
            lambda: Quantizer(Fixed(8), method="max"),
            ValueError,
            "Quantizer method must be one of minmax, ema, percentile, mse, mx, not 'max'",
        ),
        (
            lambda: Quantizer(Fixed(8))(torch.ones(1)),
            RuntimeError,
            "Quantizer scale must be calibrated first, by hwlut.quant.calibrate",
        ),
        (
            lambda: Quantizer(Fixed(8)).observe(torch.tensor([math.inf])),
            ValueError,
            "calibration values must be finite",
        ),
        (lambda: Quantizer(Fixed(8)).observe(torch.ones(0)), ValueError, "calibration must see at least one value"),
        (
            lambda: calibrate(nn.Linear(1, 1), []),
            ValueError,
            "calibration needs a model with a Quantizer that chooses its scale",
        ),
        (
            lambda: calibrate(model(), []),
            ValueError,
            "calibration data must reach every quantizer, but not '0'",
        ),
    ]
    for call, error, message in cases:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == message
