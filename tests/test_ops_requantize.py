"""Requantization as an operator: kernels and definition against the unit, and what the operator refuses."""

import ctypes
import functools
import itertools
import shutil

import cuda_on_cpu
import pytest
import torch

from hwlut import Fixed, Requantize, ops
from hwlut.ops import build, registry
from hwlut.ops.requantize import _ARGUMENTS, _definition, _on

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
ROUNDINGS = ("half_up", "half_even", "floor")
TYPES = (torch.int32, torch.int64, torch.float32, torch.float64)
S8, U8, S16, S32, U32 = (Fixed(8), Fixed(8, signed=False), Fixed(16), Fixed(32), Fixed(32, signed=False))
LOWEST, HIGHEST = -(1 << 31), (1 << 31) - 1
each_rounding = pytest.mark.parametrize("rounding", ROUNDINGS)


@pytest.fixture(params=["avx512", "avx2", "plain", "gpu", "torch"])
def machine(request, monkeypatch):
    """Every way of the operator."""
    if request.param == "torch":
        return _definition
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    if request.param == "gpu":
        return _on(functools.partial(cuda_on_cpu.launch, name="requantize"))
    monkeypatch.setenv("HWLUT_CPU", request.param)
    return registry._OPERATORS["requantize"].kernels["cpu"]()


def numbers(low, high, *shape, seed=0):
    return torch.randint(low, high + 1, shape, generator=torch.Generator().manual_seed(seed))


def compare(run, acc, multipliers, shifts, output=S8, zero_point=0, rounding="half_up", axis=-1, dtype=None, plus=None):
    """`run` against the unit; the sums that the unit gets are of int64."""
    unit = Requantize(
        input=S32,
        multipliers=multipliers,
        shifts=shifts,
        zero_point=zero_point,
        output=output,
        rounding=rounding,
    )
    sums = acc.long()
    if plus is not None:
        sums = sums + (plus if len(plus) == 1 else plus.view(-1, *[1] * (acc.dim() - 1 - axis % acc.dim())))
    dtype = dtype or torch.int64
    given = acc, torch.tensor(multipliers), torch.tensor(shifts, dtype=torch.int32), plus
    got = run(*given, zero_point, output.min, output.max, rounding, axis, dtype)
    assert got.dtype == dtype and got.shape == acc.shape
    assert got.stride() == torch.empty_like(acc).stride()
    assert torch.equal(got.long(), unit(sums, axis=axis).long())


@each_rounding
def test_every_shift(machine, rounding):
    ends = torch.tensor([LOWEST, LOWEST + 1, -1, 0, 1, HIGHEST - 1, HIGHEST])
    powers = 1 << torch.arange(31)
    acc = torch.cat([ends, powers, -powers, 3 * powers[:30] // 2, numbers(LOWEST, HIGHEST, 60)]).int()
    pairs = list(itertools.product((0, 1, 3, 1 << 30, HIGHEST, 1234567891), range(63)))
    multipliers, shifts = zip(*pairs)
    acc = acc[:, None].expand(-1, len(pairs)).contiguous()
    for output, zero_point in ((S32, 0), (S32, LOWEST), (S32, HIGHEST), (U32, (1 << 32) - 1), (U32, 7), (S8, -3)):
        compare(machine, acc, multipliers, shifts, output, zero_point, rounding)
    for multiplier, shift in pairs[::7]:
        compare(machine, acc[:, 0], [multiplier], [shift], S32, 5, rounding)


@each_rounding
def test_every_small_sum(machine, rounding):
    """Ties of all kinds, and both ends of the codes."""
    acc = torch.arange(-1024, 1025)
    for multiplier, shift in itertools.product((1, 2, 3, 5, 8), range(6)):
        for output, zero_point in ((S8, 0), (S8, -128), (U8, 0), (U8, 200), (S16, 1000)):
            compare(machine, acc, [multiplier], [shift], output, zero_point, rounding)


LAYOUTS = [  # shape, axis
    ((2, 5, 9, 8), 1),
    ((2, 5, 9, 8), -4),
    ((2, 5, 9, 8), -1),
    ((3, 40), 0),
    ((7, 3, 2), 1),
    ((70, 3), 1),
    ((33, 17), -1),
    ((3, 700), -1),
    ((2, 600, 2), 1),
    ((3, 12_345), 0),
    ((13_001, 3), 1),
    ((1_100, 30), 0),
    ((1, 6, 1, 4), 1),
    ((4, 1, 3), 1),
    ((0, 4), 1),
    ((4, 0), 0),
]


def channels_of(count):
    return numbers(0, HIGHEST, count, seed=1).tolist(), numbers(22, 40, count, seed=2).tolist()


def strided(x):
    """The same numbers lying otherwise."""
    yield x
    yield x.transpose(0, -1).contiguous().transpose(0, -1)
    yield torch.stack([x, x], -1)[..., 0]
    yield x[:1].expand(x.shape)
    if x.dim() == 4:
        yield x.to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("shape", "axis"), LAYOUTS)
def test_layouts(machine, shape, axis):
    multipliers, shifts = channels_of(shape[axis])
    plus = numbers(-9_000, 9_000, shape[axis], seed=4)
    for place, acc in enumerate(strided(numbers(-1_000_000, 1_000_000, *shape, seed=3).int())):
        rounding = ROUNDINGS[place % 3]
        compare(machine, acc, multipliers, shifts, S16, 0, rounding, axis, torch.int16)
        compare(machine, acc, multipliers, shifts, S16, -5, rounding, axis, torch.int16, plus)
        compare(machine, acc, [HIGHEST], [40], S16, -5, rounding, axis, torch.int16, plus)
        compare(machine, acc, [HIGHEST], [40], S16, 0, rounding, axis, torch.int16, plus[:1] if len(plus) else None)


def test_no_dimension(machine):
    compare(machine, torch.tensor(1234, dtype=torch.int32), [3], [4], S16)


@pytest.mark.parametrize("of_acc", TYPES, ids=str)
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_types(machine, of_acc, axis):
    exact = {torch.float32: 1 << 24}.get(of_acc, 1 << 31)
    acc = numbers(-exact, exact - 1, 20, 150)
    acc[0, :2] = torch.tensor([-exact, exact - 1])
    multipliers, shifts = ([HIGHEST], [44]) if axis is None else channels_of(acc.shape[axis])
    for output, types in (
        (S8, (torch.int8, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64)),
        (U8, (torch.uint8, torch.int16, torch.float32)),
        (Fixed(24), (torch.int32, torch.float32)),
        (S32, (torch.int32, torch.int64, torch.float64)),
        (U32, (torch.int64, torch.float64)),
    ):
        for dtype in types:
            compare(machine, acc.to(of_acc), multipliers, shifts, output, 0, "half_even", axis or 0, dtype)


def test_constants_bring_sums_into_range(machine):
    acc = torch.tensor([[LOWEST, HIGHEST, 5], [LOWEST, HIGHEST, -5]], dtype=torch.int32)
    plus = torch.tensor([(1 << 32) - 1, -(1 << 32) + 1, HIGHEST - 5])
    for of_acc in (torch.int32, torch.int64, torch.float64):
        compare(machine, acc.to(of_acc), [1, 3, HIGHEST], [0, 2, 31], S32, plus=plus)


def test_one_number_beside_one_a_channel(machine):
    acc = numbers(-5000, 5000, 30, 4).int()
    one, two = torch.tensor([3]), torch.tensor([1, 2, 3, 4])
    for m, shift, plus in ((one, two, None), (two, one, one), (one, one, two), (one, two, two)):
        got = machine(acc, m, shift, plus, 1, -128, 127, "half_up", 1, torch.int8)
        full = [part if part is None or len(part) == 4 else part.expand(4) for part in (m, shift, plus)]
        compare(machine, acc, full[0].tolist(), full[1].tolist(), S8, 1, plus=full[2])
        assert torch.equal(got, machine(acc, *full, 1, -128, 127, "half_up", 1, torch.int8))


def test_by_hand():
    acc = torch.tensor([[-20, -5, -4], [1, 4, 12]], dtype=torch.int32)  # by 3/8: -7.5, -1.875, -1.5, 0.375, 1.5, 4.5
    m, shift = torch.tensor([3]), torch.tensor([3])
    for rounding, want in (
        ("half_up", [[-2, 3, 4], [5, 7, 10]]),
        ("half_even", [[-3, 3, 3], [5, 7, 9]]),
        ("floor", [[-3, 3, 3], [5, 6, 9]]),
    ):
        got = ops.requantize(acc, m, shift, 5, -128, 127, rounding)
        assert got.dtype == torch.int8 and got.tolist() == want
    assert ops.requantize(acc, m, shift, 5, 4, 9).tolist() == [[4, 4, 4], [5, 7, 9]]
    plus = torch.tensor([16, 1, 0])
    assert ops.requantize(acc, m, shift, 5, -8, 7, constant=plus).tolist() == [[4, 4, 4], [7, 7, 7]]
    ratios = torch.tensor([1, 2, 4]), torch.tensor([0, 1, 2])
    assert ops.requantize(acc, *ratios, 0, -128, 127, axis=1).tolist() == acc.tolist()


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (-128, 127, torch.int8),
        (0, 127, torch.int8),
        (0, 128, torch.uint8),
        (0, 255, torch.uint8),
        (-1, 128, torch.int16),
        (0, 256, torch.int16),
        (0, 65535, torch.int32),
        (LOWEST, HIGHEST, torch.int32),
        (0, HIGHEST + 1, torch.int64),
    ],
)
def test_the_narrowest_type(low, high, dtype):
    one = torch.ones(1, dtype=torch.int32)
    got = ops.requantize(torch.tensor([LOWEST, HIGHEST], dtype=torch.int32), one, one, 0, low, high)
    assert got.dtype == dtype and got.tolist() == [max(low, LOWEST // 2), min(high, 1 << 30)]


def test_threads_change_nothing():
    before = torch.get_num_threads()
    acc, (multipliers, shifts) = numbers(-1_000_000, 1_000_000, 5, 60_000).float(), channels_of(5)
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            ratios = torch.tensor(multipliers), torch.tensor(shifts)
            found.append(ops.requantize(acc, *ratios, 0, -128, 127, axis=0))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def arguments(acc, axis=1, dtype=torch.int8, plus=None):
    multipliers, shifts = (torch.tensor(part) for part in channels_of(acc.shape[axis]))
    return acc, multipliers, shifts, plus, 3, -128, 127, "half_even", axis, dtype


def test_opcheck():
    acc = numbers(-1_000_000, 1_000_000, 3, 5, 4)
    for given in (
        arguments(acc.int()),
        arguments(acc.float(), dtype=torch.float32),
        arguments(acc.transpose(0, 1), plus=torch.ones(3, dtype=torch.int32)),
        arguments(acc[:, :, :0].double()),
    ):
        torch.library.opcheck(torch.ops.hwlut.requantize.default, given)


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for name, part in zip(("multipliers", "shifts"), channels_of(6)):
            self.register_buffer(name, torch.tensor(part, dtype=torch.int32))

    def forward(self, x):
        return ops.requantize(x @ x.T, self.multipliers, self.shifts, 3, -128, 127, dtype=torch.float32) + 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own imports
def test_compiled_and_exported():
    x, module = numbers(-100, 100, 6, 20).float(), Scaled()
    want = module(x)
    torch.compiler.reset()
    with torch.no_grad():
        assert torch.equal(torch.compile(module, fullgraph=True, backend="aot_eager")(x), want)
        program = torch.export.export(module, (x,))
    assert torch.equal(program.module()(x), want)
    assert not [node for node in program.graph.nodes if "hwlut" in str(node.target)]  # others may run it


@needs_nvcc
def test_cuda_source_compiles_and_reports_errors():
    function = build.library("requantize.cu", ((8, 0), (9, 0))).hwlut_requantize
    function.argtypes, function.restype = [*_ARGUMENTS, ctypes.c_int, ctypes.c_void_p], ctypes.c_char_p
    assert function(*(None if kind is ctypes.c_void_p else 1 for kind in _ARGUMENTS), 1 << 20, None)


@pytest.mark.cuda
@needs_nvcc
@each_rounding
@pytest.mark.parametrize(("shape", "axis"), LAYOUTS)
def test_on_a_gpu(shape, axis, rounding):
    def run(acc, *given):
        on_gpu = [part.cuda() if isinstance(part, torch.Tensor) else part for part in given]
        found = torch.ops.hwlut.requantize(acc.cuda(), *on_gpu)
        return torch.empty_like(acc, dtype=found.dtype).copy_(found)

    multipliers, shifts = channels_of(shape[axis])
    plus = numbers(-9_000, 9_000, shape[axis], seed=4)
    for of_acc, dtype in itertools.product(TYPES, (torch.int8, torch.int32, torch.float32)):
        acc = numbers(-1_000_000, 1_000_000, *shape).to(of_acc)
        compare(run, acc, multipliers, shifts, S8, -3, rounding, axis, dtype, plus)
    assert ops.implementation("requantize", "cuda") == "kernel"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_without_gpu():
    registry._chosen.cache_clear()
    with pytest.warns(RuntimeWarning, match="hwlut requantize runs in torch on cuda, slowly: CUDA device: not found"):
        assert ops.implementation("requantize", "cuda") == "torch"


def test_refusals():
    acc, one, three = torch.zeros(2, 3).int(), torch.ones(1).int(), torch.ones(3).int()
    given = {"acc": acc, "multipliers": one, "shifts": one, "zero_point": 0, "low": -128, "high": 127}
    for error, changes, message in (
        (TypeError, {"acc": 3}, "acc must be a tensor, not int"),
        (TypeError, {"shifts": None}, "shifts must be a tensor, not NoneType"),
        (TypeError, {"constant": 5}, "constant must be a tensor, not int"),
        (TypeError, {"acc": acc.short()}, "acc must be int32, int64, float32 or float64, not torch.int16"),
        (TypeError, {"multipliers": one.float()}, "multipliers must be int32 or int64, not torch.float32"),
        (TypeError, {"constant": one.float()}, "constant must be int32 or int64, not torch.float32"),
        (ValueError, {"shifts": one.to("meta")}, "shifts must be on cpu like acc, not meta"),
        (ValueError, {"multipliers": one[0]}, "multipliers must be one number or one a channel, not shape ()"),
        (ValueError, {"shifts": one[:0]}, "shifts must be one number or one a channel, not shape (0,)"),
        (ValueError, {"multipliers": three, "shifts": three[:2]}, "shifts must be 1 or 3 numbers, not 2"),
        (ValueError, {"shifts": three, "axis": 0}, "axis 0 must have 3 channels, not shape (2, 3)"),
        (ValueError, {"shifts": three, "axis": 2}, "axis 2 must have 3 channels, not shape (2, 3)"),
        (ValueError, {"constant": three, "axis": -3}, "axis -3 must have 3 channels, not shape (2, 3)"),
        (ValueError, {"rounding": "up"}, "rounding must be one of half_up, half_even, floor, not 'up'"),
        (ValueError, {"low": 128}, "low and high must be in order and of 32 bits, signed or unsigned, not 128 and 127"),
        (
            ValueError,
            {"low": -1, "high": 1 << 31},
            "low and high must be in order and of 32 bits, signed or unsigned, not -1 and 2147483648",
        ),
        (ValueError, {"zero_point": 1 << 33}, "zero_point must be from -2^32 to 2^32, not 8589934592"),
        (TypeError, {"dtype": torch.float16}, "dtype must be an integer type, float32 or float64, not torch.float16"),
        (ValueError, {"dtype": torch.uint8}, "dtype must hold -128 to 127, not be torch.uint8"),
        (
            ValueError,
            {"dtype": torch.float32, "high": 1 << 25},
            "dtype must hold -128 to 33554432, not be torch.float32",
        ),
    ):
        with pytest.raises(error) as caught:
            ops.requantize(**{**given, **changes})
        assert str(caught.value) == f"requantize {message}"
