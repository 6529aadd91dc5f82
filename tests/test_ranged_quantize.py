"""Fused quantization in a range: kernels against the definition, that against plain Python, what is refused."""

import ctypes
import functools
import math
import shutil

import cuda_on_cpu
import pytest
import torch

from hwlut import ops
from hwlut.ops import build, registry
from hwlut.ops.ranged_quantize import (
    _ARGUMENTS,
    _BACKWARD_ARGUMENTS,
    _backward_definition,
    _backward_on,
    _definition,
    _on,
)

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
KERNELS = {
    "ranged_quantize": (_ARGUMENTS, _on),
    "ranged_quantize_backward": (_BACKWARD_ARGUMENTS, _backward_on),
}
SHAPES = [(), (0, 4), (7,), (3, 50, 7), (20_011,)]
SIGNED = pytest.mark.parametrize("signed", [True, False])
SPECIAL = [math.inf, -math.inf, 0.0, -0.0, 1e-40, 3.4e38, 1.3, -1.3, 0.15, 0.45]


@pytest.fixture(params=["avx512", "avx2", "plain", "gpu"])
def machine(request, monkeypatch):
    """Every way of a kernel: from its name, the operator."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    if request.param == "gpu":
        return lambda name: KERNELS[name][1](functools.partial(cuda_on_cpu.launch, name=name))
    monkeypatch.setenv("HWLUT_CPU", request.param)
    return lambda name: registry._OPERATORS[name].kernels["cpu"]()


def reals(shape, seed=0):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul_(1.5)
    x.view(-1)[: len(SPECIAL)] = torch.tensor(SPECIAL)[: x.numel()]
    return x


def numbers(step=0.3, top=1.3):
    return torch.tensor(step), torch.tensor(top)


def same(one, other):
    """Equal, with signs of zeros and places of NaN."""
    assert one.dtype == other.dtype and one.shape == other.shape and one.stride() == other.stride()
    assert torch.equal(one.nan_to_num(0), other.nan_to_num(0)) and torch.equal(one.isnan(), other.isnan())
    assert torch.equal(one.signbit() & ~one.isnan(), other.signbit() & ~other.isnan())


@SIGNED
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernels_give_what_the_definitions_give(machine, shape, signed):
    forward, backward = map(machine, KERNELS)
    x, grad = reals(shape), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    for step, top in (numbers(), numbers(1e-6, 50.0), numbers(0.7, 1e-3)):
        with_nan = x.clone()
        with_nan.view(-1)[-1:] = math.nan
        same(forward(with_nan, step, top, signed), _definition(with_nan, step, top, signed))
        for given in (x, with_nan):
            got, wanted = (way(grad, given, step, top, signed) for way in (backward, _backward_definition))
            same(got[0], wanted[0])
            for one, other in zip(got[1:], wanted[1:]):
                torch.testing.assert_close(one, other, rtol=1e-6, atol=0, equal_nan=True)


@SIGNED
def test_strides(machine, signed):
    forward, backward = map(machine, KERNELS)
    x = reals((6, 5, 4, 8))
    for given in (x.to(memory_format=torch.channels_last), x.transpose(0, 1), x[::2, 1:], x[:1].expand(x.shape)):
        same(forward(given, *numbers(), signed), _definition(given, *numbers(), signed))
        grad = torch.ones(()).expand(given.shape)
        got, wanted = (way(grad, given, *numbers(), signed) for way in (backward, _backward_definition))
        same(got[0], wanted[0])
        torch.testing.assert_close(got[1:], wanted[1:], rtol=1e-6, atol=0)


@SIGNED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_in_plain_python(signed, dtype):
    x = torch.tensor([-99.0, -2.1, -2.0, -1.3, -0.2, 0.0, 0.24, 0.8, 1.9, 2.0, 2.1, 7.0], dtype=dtype).requires_grad_()
    step, top = (number.requires_grad_() for number in numbers(0.75, 2.0))
    grad = torch.arange(1.0, 13.0, dtype=dtype)
    out = ops.ranged_quantize(x, step, top, signed)
    out.backward(grad)
    of_step = of_top = 0.0
    for place, number in enumerate(x.detach().tolist()):
        clipped = min(max(number, -2.0 if signed else 0.0), 2.0)
        code = round(clipped / 0.75)
        assert out[place] == code * 0.75
        assert x.grad[place] == (grad[place] if clipped == number else 0)
        of_step += float(grad[place]) * (code - clipped / 0.75)
        of_top += float(grad[place]) * ((number > 2) - (signed and number < -2))
    assert step.grad.item() == pytest.approx(of_step, rel=1e-5) and top.grad.item() == of_top


def test_threads_change_nothing():
    before = torch.get_num_threads()
    x, grad = reals((300_000,)), torch.randn(300_000, generator=torch.Generator().manual_seed(5))
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            values = torch.ops.hwlut.ranged_quantize(x, *numbers(), True)
            found.append((values, *torch.ops.hwlut.ranged_quantize_backward(grad, x, *numbers(), True)))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found):
        same(one, other)


def test_only_the_numbers_are_kept_for_the_backward():
    x = torch.randn(1000).requires_grad_()
    step, top = (number.requires_grad_() for number in numbers())
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: kept.append(saved) or saved, lambda saved: saved):
        ops.ranged_quantize(x, step, top)
    assert [saved.data_ptr() for saved in kept if saved.numel() > 1] == [x.data_ptr()]


def test_there_is_no_second_gradient():
    x = torch.ones(3, requires_grad=True)
    (first,) = torch.autograd.grad(ops.ranged_quantize(x * x, *numbers()).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="^ranged_quantize has a first gradient only$"):
        first.sum().backward()


def test_opcheck():
    for x in (torch.randn(3, 5), torch.randn(3, 5, 2).transpose(0, 1), torch.randn(0, 4)):
        step, top = numbers()
        given = x.clone().requires_grad_(), step.clone().requires_grad_(), top.clone().requires_grad_()
        torch.library.opcheck(torch.ops.hwlut.ranged_quantize.default, (*given, True))
        torch.library.opcheck(
            torch.ops.hwlut.ranged_quantize_backward.default, (torch.ones_like(x), x, step, top, True)
        )


@needs_nvcc
@pytest.mark.parametrize("name", KERNELS)
def test_cuda_source_compiles_and_reports_errors(name):
    arguments = KERNELS[name][0]
    function = build.library(f"{name}.cu", ((8, 0), (9, 0)))[f"hwlut_{name}"]
    function.argtypes, function.restype = [*arguments, ctypes.c_int, ctypes.c_void_p], ctypes.c_char_p
    assert function(*(None if kind is ctypes.c_void_p else 1 for kind in arguments), 1 << 20, None)


@pytest.mark.cuda
@needs_nvcc
@SIGNED
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_on_a_gpu(shape, signed):
    x, grad = reals(shape), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    given = [part.cuda() for part in (x, *numbers())]
    same(torch.ops.hwlut.ranged_quantize(*given, signed).cpu(), _definition(x, *numbers(), signed))
    got = torch.ops.hwlut.ranged_quantize_backward(grad.cuda(), *given, signed)
    wanted = _backward_definition(grad, x, *numbers(), signed)
    same(got[0].cpu(), wanted[0])
    for one, other in zip(got[1:], wanted[1:]):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-6, atol=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
@pytest.mark.parametrize("name", KERNELS)
def test_without_gpu(name):
    registry._chosen.cache_clear()
    with pytest.warns(RuntimeWarning, match=f"hwlut {name} runs in torch on cuda, slowly: CUDA device: not found"):
        assert ops.implementation(name, "cuda") == "torch"


def test_refusals():
    x, (step, top) = torch.zeros(3, 4), numbers()
    for error, arguments, message in (
        (TypeError, (x.half(), step, top), "x must be torch.float32 or torch.float64, not torch.float16"),
        (TypeError, (x, step.double(), top), "step must be torch.float32, not torch.float64"),
        (ValueError, (x, step, top.view(1)), "top must be one number, not of shape (1,)"),
        (ValueError, (x, step.to("meta"), top), "step must be on cpu like x, not meta"),
    ):
        with pytest.raises(error) as caught:
            ops.ranged_quantize(*arguments)
        assert str(caught.value) == f"ranged_quantize {message}"
