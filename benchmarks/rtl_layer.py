"""Layers in RTL: numbers a second through Verilated hardware, against the same layers in software."""

import torch

import hwlut
from benchmarks.report import Row, report
from benchmarks.timing import medians
from hwlut import Multiplier
from hwlut.nn import ApproxMatmul, PwlActivation, RtlLayer
from hwlut.program import softmax
from hwlut.program.engine import Engine
from hwlut.program.ports import decoded, encoded
from hwlut.quant import Quantizer
from hwlut.share import share
from hwlut.units import Pwl
from hwlut.verify.tools import compiler, find_verilator

__all__ = ["rtl_rows"]

_COUNT = 1 << 20
_PLACES = 197  # of a row: the tokens of a vision transformer
_THREADS = 2
_TARGET = 5e6


def rtl_rows() -> list[Row]:
    """A forward of a million float32 numbers, of rows of so many and of two matrices, on two threads, in evaluation."""
    before = torch.get_num_threads()
    torch.set_num_threads(_THREADS)
    rows = [_activation_row(scales) for scales in ((5,), range(7))]
    rows += [_softmax_row(format) for format in (hwlut.Fixed(8, 4), hwlut.Fixed(12, 8))]
    rows += [_product_row(Multiplier(family=family, bits=8, signed=True, **options)) for family, options in _PRODUCTS]
    torch.set_num_threads(before)
    return rows


_PRODUCTS: tuple[tuple[str, dict[str, int]], ...] = (("exact", {}), ("drum", {"k": 4}))


@torch.no_grad()
def _activation_row(scales: tuple[int, ...] | range) -> Row:
    unit = hwlut.load(share("pretrained", "gelu_8.json"))
    assert isinstance(unit, Pwl)
    x = torch.randn(_COUNT, generator=torch.Generator().manual_seed(0))
    software = PwlActivation(unit, Quantizer(hwlut.Fixed(8), scales))
    software.quantizer.observe(x)
    layer = RtlLayer(unit, quantizer=software.quantizer)
    assert torch.equal(layer(x), software(x))
    ours, baseline = medians(11, lambda: layer(x), lambda: software(x))
    form = "a hard-wired scale" if len(scales) == 1 else "the scale with each beat"
    return Row(
        name=f"RtlLayer gelu_8, 16 lanes, {form}, {_THREADS} threads, 1 M floats",
        unit="numbers/s",
        ours=_COUNT / ours,
        against="PwlActivation, the same",
        baseline=_COUNT / baseline,
        sense=">=",
        target=_TARGET,
    )


@torch.no_grad()
def _softmax_row(format: hwlut.Fixed) -> Row:
    program = softmax(input=format, output=hwlut.Fixed(16, 15, signed=False), most=_PLACES)
    x = torch.randn(_COUNT // _PLACES, _PLACES, generator=torch.Generator().manual_seed(0)) * 2
    layer, engine = RtlLayer(program), Engine(program)
    (port,), (result,) = program.inputs, program.outputs

    def software() -> torch.Tensor:
        return decoded(result, engine(encoded(port, x)))

    assert torch.equal(layer(x), software())
    ours, baseline = medians(11, lambda: layer(x), software)
    return Row(
        name=f"RtlLayer softmax {format}, rows of {_PLACES}, a place a beat, {_THREADS} threads, 1 M floats",
        unit="numbers/s",
        ours=x.numel() / ours,
        against="hwlut.program.engine, the same",
        baseline=x.numel() / baseline,
        sense=">=",
    )


@torch.no_grad()
def _product_row(multiplier: Multiplier) -> Row:
    x, w = (torch.randn(128, 128, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    layer, software = RtlLayer(multiplier), ApproxMatmul(multiplier=multiplier)
    assert torch.equal(layer(x, w), software(x, w))
    ours, baseline = medians(11, lambda: layer(x, w), lambda: software(x, w))
    return Row(
        name=f"RtlLayer {multiplier.family.value} s8 x s8, 8 lanes, {_THREADS} threads, 128 x 128 x 128",
        unit="products/s",
        ours=128**3 / ours,
        against="ApproxMatmul, the same",
        baseline=128**3 / baseline,
        sense=">=",
    )


if __name__ == "__main__":
    report(
        "rtl_layer",
        rtl_rows(),
        tools={"verilator": str(find_verilator()).removeprefix("Verilator "), "c++": compiler()[1]},
    )
