"""Fused quantization and ranges: kernels against definitions, definitions against plain Python, compiled modules."""

import ctypes
import functools
import math
import shutil

import cuda_on_cpu
import pytest
import torch
from torch import nn

from hwlut import Fixed, ops
from hwlut.ops import build, registry
from hwlut.ops.fake_quantize import (
    _ARGUMENTS,
    _BACKWARD_ARGUMENTS,
    _backward_definition,
    _backward_on,
    _definition,
    _on,
)
from hwlut.ops.group_bounds import _ARGUMENTS as _BOUNDS_ARGUMENTS
from hwlut.ops.group_bounds import _definition as bounds_definition
from hwlut.ops.group_bounds import _on as bounds_on
from hwlut.quant import Minifloat, Quantizer, calibrate

needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
KERNELS = {
    "fake_quantize": (_ARGUMENTS, _on, _definition),
    "fake_quantize_backward": (_BACKWARD_ARGUMENTS, _backward_on, _backward_definition),
    "group_bounds": (_BOUNDS_ARGUMENTS, bounds_on, bounds_definition),
}
CODES = [(-128, 127, 0), (0, 255, 0), (-(1 << 23), (1 << 23) - 1, 0), (-1, 0, 0), (-12, 12, 2), (-4, 4, 1)]
CODES += [(-229376, 229376, 4), (-(7 << 29), 7 << 29, 3)]
LAYOUTS = {
    "tensor": ((3, 50, 7), ()),
    "one number": ((3, 50, 7), (1,)),
    "first": ((5, 40), (5, 1)),
    "middle": ((3, 5, 33), (5, 1)),
    "short": ((3, 5, 3), (1, 5, 1)),
    "last": ((41, 19), (19,)),
    "tokens": ((2, 3, 70), (2, 3, 1)),
    "short tokens": ((20, 3), (20, 1)),
    "long": ((2, 3, 9_000), (3, 1)),
    "long last": ((12_000, 3), (3,)),
    "apart": ((3, 4, 5), (3, 1, 5)),
    "each": ((7, 9), (7, 9)),
    "ones": ((1, 6, 1, 20), (1, 6, 1, 1)),
    "none": ((0, 4), (4,)),
    "no dimension": ((), ()),
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


@pytest.fixture(params=["avx512", "avx2", "plain", "gpu"])
def machine(request, monkeypatch):
    """Every way of a kernel: from its name, the operator."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    if request.param == "gpu":
        return lambda name: KERNELS[name][1](functools.partial(cuda_on_cpu.launch, name=name))
    monkeypatch.setenv("HWLUT_CPU", request.param)
    return lambda name: registry._OPERATORS[name].kernels["cpu"]()


def reals(shape, step, seed=0):
    """Random numbers, halves of steps and what is special, for steps of any shape."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator) * 40
    halves = torch.randint(-700, 700, shape, generator=generator) / 2
    kind = torch.randint(0, 10, shape, generator=generator)
    x = torch.where(kind < 4, halves, torch.where(kind < 6, halves * 2.0 ** (kind * 40 - 180).float(), x)) * step
    special = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 3e38, -3e38, 1e-45, -1e-40])
    places = torch.randint(0, len(special), shape, generator=generator)
    return torch.where(kind == 9, special[places], x)


def steps(shape, kind, seed=1):
    generator = torch.Generator().manual_seed(seed)
    if kind == "powers":
        return 2.0 ** torch.randint(-8, 3, shape, generator=generator)
    return torch.rand(shape, generator=generator) * 3 * float(kind) + 1e-38


def zeros(shape, low, high, seed=2):
    return torch.randint(max(low, -300), min(high, 300) + 1, shape, generator=torch.Generator().manual_seed(seed)).int()


def same(one, other):
    """Bit for bit, but for which NaN it is."""
    assert one.dtype == other.dtype and one.shape == other.shape and one.stride() == other.stride()
    assert torch.equal(one.isnan(), other.isnan())
    assert torch.equal(one.nan_to_num(7.0).view(torch.int32), other.nan_to_num(7.0).view(torch.int32))


def cases(layout):
    shape, small = LAYOUTS[layout]
    for place, (low, high, significant) in enumerate(CODES):
        for kind in ("powers", "1", "1e-30") if place % 3 == 0 else ("1",):
            step = steps(small, kind)
            zero = zeros(small, low, high) if not significant and place % 2 else None
            yield reals(shape, step), step, zero, low, high, significant


@each_layout
def test_values(machine, layout):
    run = machine("fake_quantize")
    for case in cases(layout):
        same(run(*case, False), _definition(*case, False))


@each_layout
@pytest.mark.parametrize("margin", [None, True, False])
def test_gradients(machine, layout, margin):
    run = machine("fake_quantize_backward")
    for x, step, *codes in cases(layout):
        grad = torch.randint(-4, 5, x.shape, generator=torch.Generator().manual_seed(3)).float()
        got, wanted = run(grad, x, step, *codes, margin), _backward_definition(grad, x, step, *codes, margin)
        same(got[0], wanted[0])
        assert got[1].shape == wanted[1].shape == ((0,) if margin is None else step.shape)
        if margin is not None:
            # What is special would hide all others in a sum; and each number in steps, a multiple of 1/2, adds exactly.
            x = torch.where(x.isfinite(), x / step, 0.0).clamp(-1000, 1000).mul(2).round().div(2) * step
            if torch.equal((x / step * 2).round(), x / step * 2):
                same(run(grad, x, step, *codes, margin)[1], _backward_definition(grad, x, step, *codes, margin)[1])
            got, wanted = (f(grad, x, step, *codes, margin)[1] for f in (run, _backward_definition))
            torch.testing.assert_close(got, wanted, rtol=1e-6, atol=0)


@each_layout
def test_ranges(machine, layout):
    run = machine("group_bounds")
    shape = LAYOUTS[layout][0]
    x = reals(shape, torch.tensor(0.1))
    dimensions = range(x.dim())
    for kept in ([], *([d] for d in dimensions), list(dimensions[:-1]), list(dimensions), list(dimensions[1:])):
        if math.prod(x.shape[d] for d in kept) < 200:  # of more blocks, a GPU is emulated slowly
            for got, wanted in zip(run(x, kept), bounds_definition(x, kept)):
                same(got, wanted)
    assert run(torch.tensor([[math.inf, -2.0], [math.nan, 5.0]]), [])[0] == -2


def strided(x):
    if x.dim() == 4:
        yield x.to(memory_format=torch.channels_last)
    yield x.transpose(0, 1)
    yield x[::2, 1:]
    yield x[:1].expand(x.shape)
    yield x.flip(0).T if x.dim() == 2 else x.movedim(-1, 0)


@pytest.mark.parametrize("shape", [(8, 6, 5, 7), (40, 33)], ids=str)
def test_strides(machine, shape):
    forward, backward, bounds = map(machine, KERNELS)
    for x in strided(reals(shape, torch.tensor(0.1))):
        for d in range(x.dim()):
            step = steps((x.shape[d], *[1] * (x.dim() - 1 - d)), "1")
            same(forward(x, step, None, -8, 7, 0, False), _definition(x, step, None, -8, 7, 0, False))
            grad = torch.ones(()).expand(x.shape)
            got = backward(grad, x, step, None, -8, 7, 0, True)
            same(got[0], _backward_definition(grad, x, step, None, -8, 7, 0, True)[0])
            for one, other in zip(bounds(x, [d]), bounds_definition(x, [d])):
                same(one, other)
        token = steps((*x.shape[:-1], 1), "1")
        same(forward(x, token, None, -8, 7, 0, False), _definition(x, token, None, -8, 7, 0, False))


def test_threads_change_nothing():
    before = torch.get_num_threads()
    x, step = reals((5, 60_000), torch.tensor(0.1)).nan_to_num(0, 1, -1), steps((5, 1), "1")
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            values = torch.ops.hwlut.fake_quantize(x, step, None, -8, 7, 0, False)
            gradients = torch.ops.hwlut.fake_quantize_backward(grad, x, step, None, -8, 7, 0, True)
            found.append((values, *gradients, *ops.group_bounds(x), *ops.group_bounds(x, (0,))))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found):
        same(one, other)


@pytest.mark.parametrize("margin", [True, False])
@pytest.mark.parametrize("significant", [0, 2])
def test_gradients_in_plain_python(margin, significant):
    low, high = (-12, 12) if significant else (-8, 7)
    x = torch.tensor([-99.0, -7.1, -6.9, -4.3, 0.24, 3.3, 3.6, 3.76, 6.1, 6.9, 7.1]).requires_grad_()
    step = torch.tensor(0.5, requires_grad=True)
    grad = torch.arange(1.0, 12.0)
    ops.fake_quantize(x, step, low=low, high=high, significant=significant, margin=margin).backward(grad)
    kept = [c for c in range(-64, 65) if not significant or abs(c) % (1 << max(abs(c).bit_length() - 2, 0)) == 0]
    of_step = 0.0
    for place, number in enumerate((x.detach() / 0.5).tolist()):
        nearest = min(kept, key=lambda c: abs(c - number))
        code = min(max(nearest, low), high)
        assert x.grad[place] == (grad[place] if nearest == code else 0)
        inside = nearest == code if margin else low <= number <= high
        of_step += float(grad[place]) * (code - number if inside else code)
    assert step.grad.item() == pytest.approx(of_step, rel=1e-5)


def test_only_the_numbers_are_kept_for_the_backward():
    x, step = torch.randn(1000).requires_grad_(), torch.tensor(0.1, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: kept.append(saved) or saved, lambda saved: saved):
        ops.fake_quantize(x, step, low=-8, high=7)
    assert sorted(saved.numel() for saved in kept) == [1, 1000]
    assert [saved.data_ptr() for saved in kept if saved.numel() > 1] == [x.data_ptr()]


def test_float64_goes_the_torch_way():
    x = torch.tensor([0.05 + 1e-12, 0.05 - 1e-12, 9.0], dtype=torch.float64, requires_grad=True)
    step = torch.tensor(0.1, requires_grad=True)
    y = ops.fake_quantize(x, step, low=-8, high=7)
    assert y.dtype == torch.float64
    y.sum().backward()
    assert x.grad.tolist() == [1, 1, 0] and x.grad.dtype == torch.float64 and step.grad.dtype == torch.float32


def test_there_is_no_second_gradient():
    x = torch.ones(3, requires_grad=True)
    (first,) = torch.autograd.grad(
        ops.fake_quantize(x * x, torch.tensor(0.1), low=-8, high=7).sum(), x, create_graph=True
    )
    with pytest.raises(RuntimeError, match="^fake_quantize has a first gradient only$"):
        first.sum().backward()


@pytest.mark.parametrize("layout", ["tensor", "middle", "none"])
def test_opcheck(layout):
    shape, small = LAYOUTS[layout]
    step, zero = steps(small, "1"), zeros(small, -128, 127)
    for x in (torch.randn(shape), torch.randn(shape).transpose(0, 1).contiguous().transpose(0, 1)):
        grad = torch.randn(x.shape)
        given = x.clone().requires_grad_(), step.clone().requires_grad_()
        torch.library.opcheck(torch.ops.hwlut.fake_quantize.default, (*given, zero, -128, 127, 0, True))
        for margin in (None, True):
            arguments = (grad, x, step, None, -12, 12, 2, margin)
            torch.library.opcheck(torch.ops.hwlut.fake_quantize_backward.default, arguments)
        torch.library.opcheck(torch.ops.hwlut.group_bounds.default, (x, [x.dim() - 1]))


class Several(nn.Module):
    """Quantizers of every kind of step, one after the other."""

    def __init__(self):
        super().__init__()
        s8 = Fixed(8)
        self.static = Quantizer(s8, steps="real", symmetric=False)
        self.channels = Quantizer(s8, granularity="channel")
        self.dynamic = Quantizer(s8, steps="real", source="dynamic")
        self.tokens = Quantizer(s8, steps="multiplier", source="dynamic", granularity="token", symmetric=False)
        self.blocks = Quantizer(Minifloat(2, 1), source="dynamic", granularity="block", method="mx", block=8)
        self.learned = Quantizer(s8, steps="real", source="learned")
        self.minifloat = Quantizer(Minifloat(4, 3), source="learned")

    def forward(self, x):
        return sum(quantizer(x) for quantizer in self.children())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own imports
def test_a_compiled_module_of_all_kinds():
    x = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    module = Several()
    calibrate(module, [x])
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager_decomp_partition")
    found = []
    for way in (module, compiled):
        module.zero_grad()
        given = x.clone().requires_grad_()
        y = way(given)
        (y * torch.arange(20)).sum().backward()
        found.append((y.detach(), given.grad, module.learned.step.grad.clone(), module.minifloat.exponent.grad.clone()))
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@needs_gxx
def test_a_quantizer_in_generated_code():
    x = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    quantizer = Quantizer(Minifloat(2, 1), steps="real", source="dynamic")
    torch.compiler.reset()
    with torch.no_grad():
        assert torch.equal(torch.compile(quantizer, fullgraph=True)(x), quantizer(x))


@needs_nvcc
@pytest.mark.parametrize("name", KERNELS)
def test_cuda_source_compiles_and_reports_errors(name):
    arguments = KERNELS[name][0]
    function = build.library(f"{name}.cu", ((8, 0), (9, 0)))[f"hwlut_{name}"]
    function.argtypes, function.restype = [*arguments, ctypes.c_int, ctypes.c_void_p], ctypes.c_char_p
    assert function(*(None if kind is ctypes.c_void_p else 1 for kind in arguments), 1 << 20, None)


@pytest.mark.cuda
@needs_nvcc
@each_layout
def test_on_a_gpu(layout):
    for x, step, zero, *codes in cases(layout):
        given = [None if part is None else part.cuda() for part in (x, step, zero)]
        same(torch.ops.hwlut.fake_quantize(*given, *codes, False).cpu(), _definition(x, step, zero, *codes, False))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
@pytest.mark.parametrize("name", KERNELS)
def test_without_gpu(name):
    registry._chosen.cache_clear()
    with pytest.warns(RuntimeWarning, match=f"hwlut {name} runs in torch on cuda, slowly: CUDA device: not found"):
        assert ops.implementation(name, "cuda") == "torch"


def test_refusals():
    x, step = torch.zeros(3, 4), torch.ones(())
    for error, arguments, message in (
        (TypeError, (x.half(), step), "x must be torch.float32 or torch.float64, not torch.float16"),
        (TypeError, (x, step.double()), "step must be torch.float32, not torch.float64"),
        (TypeError, (x, step, step), "zero_point must be torch.int32, not torch.float32"),
        (ValueError, (x, step, torch.zeros(4).int()), "zero_point must be of shape () like step, not (4,)"),
        (ValueError, (x, torch.ones(3)), "step must fit x of shape (3, 4), not be of (3,)"),
        (ValueError, (x, torch.ones(1, 1, 1)), "step must fit x of shape (3, 4), not be of (1, 1, 1)"),
        (ValueError, (x, step.to("meta")), "step must be on cpu like x, not meta"),
    ):
        with pytest.raises(error) as caught:
            ops.fake_quantize(*arguments, low=-8, high=7)
        assert str(caught.value) == f"fake_quantize {message}"
    for kept in ((2,), (1, 0), (-1,), (0, 0)):
        with pytest.raises(ValueError, match=r"^group_bounds kept must ascend from 0 to 1, not \("):
            ops.group_bounds(x, kept)
