"""Options that do not go together, states that are kept, loaded or refused, and how quantizers are shown."""

import copy

import pytest
import torch
from torch import nn

from hwlut import Fixed
from hwlut.quant import Quantizer

S8, U8 = Fixed(8), Fixed(8, signed=False)

KEPT = {
    "real": ({"steps": "real"}, {"step"}),
    "real affine": ({"steps": "real", "symmetric": False}, {"step", "zero_point"}),
    "real averages": ({"steps": "real", "method": "ema"}, {"step", "low", "high", "frozen"}),
    "real learned": ({"steps": "real", "source": "learned"}, {"step"}),
    "powers": ({"scales": range(-2, 9)}, {"scale"}),
    "powers affine": ({"symmetric": False}, {"scale", "zero_point"}),
    "powers averages": ({"symmetric": False, "method": "ema"}, {"scale", "zero_point", "low", "high", "frozen"}),
    "powers learned": ({"source": "learned"}, {"exponent"}),
}
each_kept = pytest.mark.parametrize("label", KEPT)
each_granularity = pytest.mark.parametrize("granularity", ["tensor", "channel"])


def values(seed=0):
    return torch.randn((6, 3), generator=torch.Generator().manual_seed(seed)) * torch.tensor([1.0, 3.0, 20.0])


def made(label, granularity, x=None):
    quantizer = Quantizer(S8, granularity=granularity, axis=1, **KEPT[label][0])
    if x is not None:
        quantizer.observe(x)
    return quantizer.eval()


@each_kept
@each_granularity
def test_states_make_the_round_trip(label, granularity, tmp_path):
    source = made(label, granularity, values())
    state = source.state_dict()
    assert set(state) == KEPT[label][1]
    for name, value in state.items():
        assert value.shape == (() if granularity == "tensor" or name == "frozen" else (3,))
    torch.save(state, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt")
    for target in (made(label, granularity), made(label, granularity, values(1))):  # before and after calibration
        target.load_state_dict(loaded)
        assert target.calibrated and torch.equal(target(values()), source(values()))
    with torch.device("meta"):
        empty = made(label, granularity)
    empty.load_state_dict(loaded, assign=True)
    assert empty.calibrated


@each_kept
@each_granularity
def test_a_state_of_nothing_yet_is_one(label, granularity):
    target = made(label, granularity, values())
    if granularity == "channel":
        for name, state in target.state_dict().items():
            assert state.shape == (3,) or name == "frozen"
    target.load_state_dict(made(label, granularity).state_dict())
    assert not target.calibrated
    with pytest.raises(RuntimeError) as caught:
        target(values())
    assert str(caught.value) == "Quantizer scale must be calibrated first, by hwlut.quant.calibrate"


@each_kept
@each_granularity
def test_numbers_keep_their_types(label, granularity):
    source = made(label, granularity, values())
    for change in (nn.Module.half, nn.Module.double, lambda m: m.to("cpu", torch.bfloat16)):
        changed = change(copy.deepcopy(source))
        assert torch.equal(changed(values()), source(values()))
        assert {n: v.dtype for n, v in changed.state_dict().items()} == {
            n: v.dtype for n, v in source.state_dict().items()
        }


BAD = {
    "step zero": ("real", "tensor", {"step": torch.tensor(0.0)}, "step must be a finite positive number, not 0.0"),
    "step negative": (
        "real",
        "tensor",
        {"step": torch.tensor(-1.0)},
        "step must be a finite positive number, not -1.0",
    ),
    "step infinite": (
        "real",
        "tensor",
        {"step": torch.tensor(torch.inf)},
        "step must be a finite positive number, not inf",
    ),
    "step too large": (
        "real",
        "tensor",
        {"step": torch.tensor(1e39, dtype=torch.float64)},
        "step must be a finite positive number, not 1e+39",
    ),
    "steps for a tensor": ("real", "tensor", {"step": torch.ones(3)}, "step must be one number, not [1.0, 1.0, 1.0]"),
    "one step for channels": (
        "real",
        "channel",
        {"step": torch.tensor(1.0)},
        "step must be a row of 3 numbers, not 1.0",
    ),
    "channels": ("real", "channel", {"step": torch.ones(2)}, "step must be a row of 3 numbers, not [1.0, 1.0]"),
    "two dimensions": (
        "real",
        "channel",
        {"step": torch.ones(3, 1)},
        "step must be a row of 3 numbers, not [[1.0], [1.0], [1.0]]",
    ),
    "nan in a row": (
        "real",
        "channel",
        {"step": torch.tensor([1.0, torch.nan, 1.0])},
        "step must be a row, each a finite positive number, not [1.0, nan, 1.0]",
    ),
    "complex": ("real", "tensor", {"step": torch.tensor(1j)}, "step must be one number, not 1j"),
    "zero point": (
        "real affine",
        "tensor",
        {"step": torch.tensor(1.0), "zero_point": torch.tensor(128)},
        "zero_point must be an integer from -128 to 127, not 128",
    ),
    "half a zero point": (
        "real affine",
        "tensor",
        {"step": torch.tensor(1.0), "zero_point": torch.tensor(0.5)},
        "zero_point must be an integer from -128 to 127, not 0.5",
    ),
    "zero points": (
        "real affine",
        "channel",
        {"step": torch.ones(3), "zero_point": torch.zeros(2, dtype=torch.int32)},
        "zero_point must be a row of 3 numbers, not [0, 0]",
    ),
    "scale": (
        "powers",
        "channel",
        {"scale": torch.tensor([0, 1, 77])},
        "scale must be a row, each one of (-2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8), not [0, 1, 77]",
    ),
    "low": (
        "real averages",
        "tensor",
        {"step": torch.tensor(1.0), "low": torch.tensor(1.0), "high": torch.tensor(1.0)},
        "low must be finite and at most 0, not 1.0",
    ),
    "high": (
        "real averages",
        "tensor",
        {"step": torch.tensor(1.0), "low": torch.tensor(-1.0), "high": torch.tensor(torch.inf)},
        "high must be finite and at least 0, not inf",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_states_are_refused(case):
    label, granularity, state, message = BAD[case]
    model = nn.Sequential(made(label, granularity, values()))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError) as caught:
        model.load_state_dict({f"0.{name}": value for name, value in state.items()})
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [f"0.{message}"]
    assert model[0].calibrated and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_state_of_another_kind_is_missing_keys():
    with pytest.raises(RuntimeError, match="Missing key.*step"):
        made("real", "tensor").load_state_dict(made("powers", "tensor", values()).state_dict())


def test_inputs_of_other_channels_are_refused():
    quantizer = made("real affine", "channel", values())
    cases = [
        (lambda: quantizer(torch.ones(2, 4)), "Quantizer input must have 3 channels along axis 1, not 4"),
        (lambda: quantizer.observe(torch.ones(2, 4)), "Quantizer input must have 3 channels along axis 1, not 4"),
        (lambda: quantizer.codes(torch.ones(3)), "Quantizer input must have the axis 1, not shape (3,)"),
        (
            lambda: Quantizer(S8, granularity="token", source="dynamic")(torch.tensor(1.0)),
            "Quantizer input must have at least one dimension for tokens, not 0",
        ),
        (
            lambda: Quantizer(S8, granularity="channel", source="dynamic")(torch.tensor(1.0)),
            "Quantizer input must have the axis 0, not shape ()",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value) == message


OPTIONS = [
    ({"steps": "float"}, ValueError, "Quantizer steps must be one of power_of_two, real, multiplier, not 'float'"),
    ({"source": "given"}, ValueError, "Quantizer source must be one of static, dynamic, learned, not 'given'"),
    ({"source": ["static"]}, ValueError, "Quantizer source must be one of static, dynamic, learned, not ['static']"),
    ({"method": "max"}, ValueError, "Quantizer method must be one of minmax, ema, percentile, mse, mx, not 'max'"),
    (
        {"granularity": "row"},
        ValueError,
        "Quantizer granularity must be one of tensor, channel, token, block, not 'row'",
    ),
    ({"axis": 0.5}, TypeError, "Quantizer axis must be an integer, not 0.5"),
    ({"symmetric": 1}, TypeError, "Quantizer symmetric must be true or false, not 1"),
    ({"percentile": "99"}, TypeError, "Quantizer percentile must be a number, not '99'"),
    ({"percentile": 0}, ValueError, "Quantizer percentile must be above 0 and at most 100, not 0"),
    ({"percentile": float("nan")}, ValueError, "Quantizer percentile must be above 0 and at most 100, not nan"),
    ({"momentum": 1.5}, ValueError, "Quantizer momentum must be above 0 and at most 1, not 1.5"),
    ({"momentum": True}, TypeError, "Quantizer momentum must be a number, not True"),
    (
        {"steps": "real", "scales": (1, 2)},
        ValueError,
        "Quantizer scales must be left out where steps are real, not (1, 2)",
    ),
    (
        {"granularity": "token"},
        ValueError,
        "Quantizer source must be dynamic where each token has its step, not static",
    ),
    (
        {"granularity": "token", "source": "learned"},
        ValueError,
        "Quantizer source must be dynamic where each token has its step, not learned",
    ),
    (
        {"source": "dynamic", "method": "ema"},
        ValueError,
        "Quantizer method must be minmax or mx where the source is dynamic, not ema",
    ),
    (
        {"source": "learned", "method": "ema"},
        ValueError,
        "Quantizer method must be one of minmax, percentile, mse where steps are learned, not ema",
    ),
]


@pytest.mark.parametrize("options, error, message", OPTIONS, ids=[str(place) for place in range(len(OPTIONS))])
def test_options_that_make_no_sense(options, error, message):
    with pytest.raises(error) as caught:
        Quantizer(S8, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "options",
    [{"steps": "real"}, {"symmetric": False}, {"granularity": "channel"}, {"source": "dynamic"}, {"scales": (5,)}],
    ids=lambda options: next(iter(options)),
)
def test_a_given_scale_leaves_no_choice(options):
    with pytest.raises(ValueError) as caught:
        Quantizer(Fixed(8, 5), **options)
    assert str(caught.value) == "Quantizer format must have no frac where the scale is chosen, not 5"


def test_what_is_not_kept_is_not_given():
    dynamic = Quantizer(S8, steps="real", source="dynamic")
    real = made("real", "tensor", values())
    cases = [
        (
            lambda: dynamic.values(torch.tensor([1])),
            "Quantizer values must be taken from quantize(x) where the source is dynamic",
        ),
        (dynamic.current_scale, "Quantizer scale must be a kept power of two, not a real or dynamic step"),
        (real.current_scale, "Quantizer scale must be a kept power of two, not a real or dynamic step"),
    ]
    for call, message in cases:
        with pytest.raises(RuntimeError) as caught:
            call()
        assert str(caught.value) == message
    dynamic.start()
    dynamic.observe(torch.tensor([torch.nan]))  # nothing to see here
    dynamic.freeze()
    assert dynamic.codes(torch.tensor([1.0])).tolist() == [127]


def test_shown_in_one_line():
    shown = {
        "s8, real steps": Quantizer(S8, steps="real"),
        "u8, per channel of axis -1, asymmetric, real steps": Quantizer(
            U8, steps="real", symmetric=False, granularity="channel", axis=-1
        ),
        "s8, per token, real steps, dynamic": Quantizer(S8, steps="real", granularity="token", source="dynamic"),
        "s8, per channel of axis 0, power-of-two steps, learned": Quantizer(
            S8, granularity="channel", source="learned"
        ),
    }
    for words, quantizer in shown.items():
        assert str(quantizer) == f"Quantizer({words})"


def test_numbers_of_different_channels_do_not_load():
    with pytest.raises(RuntimeError, match=r"zero_point must be a row of 3 numbers, not \[0, 0\]"):
        made("real affine", "channel").load_state_dict(
            {"step": torch.ones(3), "zero_point": torch.zeros(2, dtype=torch.int32)}
        )
