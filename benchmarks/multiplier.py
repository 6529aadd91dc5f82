"""Approximate multipliers: matrix products, training steps and decompositions, on one thread.

The environment variable EVOAPPROX_PRODUCTS may name an .npz file of 8 x 8 bit product tables of EvoApproxLib, with a
.json of the same name that tells of each whether it is `signed` and how few `int8_terms_known` there are; the rows on
published circuits are not run without it.
"""

import copy
import ctypes
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from benchmarks.report import Row, report
from benchmarks.timing import medians
from examples.data import mnist
from examples.models import LeNet5
from hwlut import Fixed, Multiplier
from hwlut.decomposition import decompose
from hwlut.nn import Approximate, convert
from hwlut.ops import approx_matmul, expand_weights
from hwlut.quant import Quantizer, calibrate
from hwlut.verify import check
from hwlut.verify.tools import compiler

_SHAPES = {  # M, K, N; the convolutions of ResNet-18 on one image of 224 x 224, as im2col makes them
    "256 x 512 x 512": (256, 512, 512),
    "1024 x 1024 x 1024": (1024, 1024, 1024),
    "conv 7x7, 3 to 64": (12544, 147, 64),
    "conv 3x3, 64 to 64": (3136, 576, 64),
    "conv 3x3, 128 to 128": (784, 1152, 128),
    "conv 3x3, 256 to 256": (196, 2304, 256),
    "conv 3x3, 512 to 512": (49, 4608, 512),
    "conv 1x1, 64 to 128": (784, 64, 128),
}
_LOOPED = "256 x 512 x 512"  # where the slow baselines are run too
_ANY_TABLE = Multiplier(family="mitchell", signed=True)
_AVX2, _VBMI = 25.0, 6.0  # bounds on the time of any table, in times torch's float32 matmul


def _of_terms(terms: int) -> Multiplier:
    """A table whose decomposition has `terms` terms: the exact product and small random products beside it."""
    rng = np.random.default_rng(terms)
    codes = np.arange(-128, 128)
    u, v = rng.integers(-3, 4, (2, terms - 1, 256))
    unit = Multiplier(family="table", signed=True, products=codes[:, None] * codes + u.T @ v)
    assert unit.factors().terms == terms
    return unit


def _compiled(folder: Path) -> Callable[..., None]:
    """The scalar loop of scalar_table.c, on uint8 places of codes and an int32 table."""
    built = folder / "scalar_table.so"
    source = Path(__file__).with_name("scalar_table.c")
    subprocess.run([compiler()[0], "-O3", "-x", "c", "-fPIC", "-shared", "-o", str(built), str(source)], check=True)
    function = ctypes.CDLL(str(built)).table_matmul
    function.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 3
    function.restype = None
    return function


def _codes(unit: Multiplier, m: int, k: int, n: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(m)
    dtype = torch.int8 if unit.a.signed else torch.uint8
    return tuple(
        torch.randint(format.min, format.max + 1, shape, generator=random).to(dtype)
        for format, shape in ((unit.a, (m, k)), (unit.b, (k, n)))
    )


def matmul_rows(folder: Path) -> list[Row]:
    """Matrix products: any table beside float32, few terms beside torch._int_mm; each compared with the definition.

    The bounds on few terms are those of a fast torch._int_mm. On processors without VNNI it is slow, so that float32
    is the baseline that says more there.
    """
    few = [(_of_terms(1), 2.0), (Multiplier(family="truncate_columns", columns=4, signed=True), 5.0)]
    few.append((_of_terms(22), 30.0))
    rows = [row for name, shape in _SHAPES.items() for row in _shape_rows(name, shape, few)]
    if not _has_vbmi():
        name, against = "any 8-bit table by AVX-512 VBMI, every shape", "torch float32 matmul"
        rows.append(Row(name=name, unit="ms", ours=None, against=against, target=_VBMI, bounds="ratio"))
    return rows + _loop_rows(_LOOPED, _SHAPES[_LOOPED], folder)


def _has_vbmi() -> bool:
    return "avx512_vbmi" in Path("/proc/cpuinfo").read_text()


def _ratio(name: str, ours: float, against: str, baseline: float, target: float) -> Row:
    figures = {"unit": "ms", "ours": 1e3 * ours, "against": against, "baseline": 1e3 * baseline}
    return Row(name=name, target=target, bounds="ratio", **figures)


def _shape_rows(name: str, shape: tuple[int, int, int], few: list[tuple[Multiplier, float]]) -> list[Row]:
    a, b = _codes(_ANY_TABLE, *shape)
    x, y = a.float(), b.float()
    calls = []
    for unit in (_ANY_TABLE, *(unit for unit, _ in few)):
        kept = expand_weights(b, unit)
        assert torch.equal(approx_matmul(a, kept, unit), _expected(a, b, unit))
        calls.append(partial(approx_matmul, a, kept, unit))
    float32, integers, ours, *rest = medians(5, lambda: x @ y, lambda: torch._int_mm(a, b), *calls)
    rows = [_ratio(f"any 8-bit table, {name}", ours, "torch float32 matmul", float32, _VBMI if _has_vbmi() else _AVX2)]
    for seconds, (unit, most) in zip(rest, few):
        for against, baseline in (("torch._int_mm", integers), ("torch float32 matmul", float32)):
            rows.append(_ratio(f"{unit.factors().terms} terms, {name}", seconds, against, baseline, most))
    return rows


def _loop_rows(name: str, shape: tuple[int, int, int], folder: Path) -> list[Row]:
    loop = _compiled(folder)
    a, b = _codes(_ANY_TABLE, *shape)
    kept, table = expand_weights(b, _ANY_TABLE), _ANY_TABLE.products()
    places = [(codes.int() + 128).to(torch.uint8) for codes in (a, b)]
    sums = torch.empty(shape[0], shape[2], dtype=torch.int32)
    pointers = [tensor.data_ptr() for tensor in (*places, table, sums)]
    ours, looped, gathered = medians(
        5,
        lambda: approx_matmul(a, kept, _ANY_TABLE),
        lambda: loop(*pointers, *shape),
        lambda: _expected(a, b, _ANY_TABLE),
    )
    assert torch.equal(sums, _expected(a, b, _ANY_TABLE))
    return [
        _ratio(f"any 8-bit table, {name}", ours, "row-resident scalar C loop", looped, 1),
        _ratio(f"any 8-bit table, {name}", ours, "torch gather", gathered, 1),
    ]


def _expected(a: Tensor, b: Tensor, unit: Multiplier) -> Tensor:
    """The sums of products in plain torch: the products of one row of `a` at a time, gathered."""
    table, places = unit.products(), b.long() - unit.b.min
    sums = [table[part.long() - unit.a.min].squeeze(0).gather(1, places).sum(0, keepdim=True) for part in a.split(1)]
    return torch.cat(sums)


def extreme_rows() -> list[Row]:
    """The longest sums of the largest products, on every way to compute them."""
    rows = []
    for label, unit in (
        ("exact", Multiplier(family="exact")),
        ("mitchell", _ANY_TABLE.replace(a=Fixed(8, signed=False), b=Fixed(8, signed=False))),
        ("truncate_columns 4", Multiplier(family="truncate_columns", columns=4)),
    ):
        a, b = torch.full((49, 4608), 255, dtype=torch.uint8), torch.full((4608, 512), 255, dtype=torch.uint8)
        wrong = int((approx_matmul(a, b, unit) != 4608 * int(unit(torch.tensor(255), torch.tensor(255)))).sum())
        name = f"sums of 4,608 products of 255 and 255, uint8, {label}"
        rows.append(Row(name=name, unit="wrong sums", ours=wrong, target=0))
    return rows


class _FakeQuantized(nn.Module):
    """A layer in float32 whose inputs and weights are quantized like an approximate layer's."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.quantizer = Quantizer(Fixed(8), steps="real", method="minmax")
        self.layer = layer
        weight = Quantizer(Fixed(8), steps="real", granularity="channel", axis=0, source="dynamic")
        parametrize.register_parametrization(layer, "weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.quantizer(x))


def training_rows() -> list[Row]:
    """One step of training of the digit-recognition CNN of the examples, batches of 100."""
    (images, labels), _ = mnist()
    batch, classes = images[:100], labels[:100]
    torch.manual_seed(0)
    model = LeNet5()
    plain = copy.deepcopy(model)
    convert(plain, {nn.Conv2d: _FakeQuantized, nn.Linear: _FakeQuantized})
    calibrate(plain, [batch])

    def step(net: nn.Module) -> Callable[[], None]:
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

        def once() -> None:
            loss = functional.cross_entropy(net(batch), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        net.train()
        return once

    units = [("5 terms", Multiplier(family="truncate_columns", columns=4, signed=True), 2.0)]
    units.append(("any table", _ANY_TABLE, 6.0))
    approximate = []
    for _, unit, _ in units:
        net = copy.deepcopy(model)
        convert(net, Approximate(unit), [batch])
        approximate.append(net)
    baseline, *ours = medians(11, step(plain), *map(step, approximate))
    return [
        Row(
            name=f"training step of LeNet-5, batch of 100, {label}",
            unit="ms",
            ours=1e3 * seconds,
            against="fake-quantized training",
            baseline=1e3 * baseline,
            target=most,
            bounds="ratio",
        )
        for (label, _, most), seconds in zip(units, ours)
    ]


def decomposition_rows() -> list[Row]:
    """Exact decompositions of published circuits: the slowest, and how many have more terms than are known to do."""
    seconds = worse = None
    if given := os.environ.get("EVOAPPROX_PRODUCTS"):
        tables = np.load(given, allow_pickle=False)
        known = json.loads(Path(given).with_suffix(".json").read_text())
        times, more = [], 0
        for name in tables.files:
            start = time.perf_counter()
            found = decompose(tables[name].astype(np.int64))
            times.append(time.perf_counter() - start)
            more += found.terms > known[name]["int8_terms_known"]
        seconds, worse = max(times), more
    return [
        Row(name="decomposition of a published 8 x 8 bit table, the slowest", unit="s", ours=seconds, target=5),
        Row(name="published tables with more terms than known to do", unit="tables", ours=worse, target=0),
    ]


def hardware_rows() -> list[Row]:
    """The Verilog of the widest operands whose pairs are all simulated."""
    found = check(Multiplier(name="mul12u_drum_6", family="drum", bits=12, k=6))
    assert found.exhaustive and found.fault is None
    return [
        Row(name="mismatches over all 2^24 pairs, drum 12 bits", unit="products", ours=found.mismatches, target=0),
        Row(name="simulating all 2^24 pairs twice, drum 12 bits", unit="s", ours=found.seconds, target=120),
    ]


def cuda_rows() -> list[Row]:
    """Multiply-accumulates a second on a GPU, where there is one."""
    table = factors = rate = None
    if torch.cuda.is_available():
        few = Multiplier(family="truncate_columns", columns=4, signed=True)
        noise = np.random.default_rng(0).integers(-16384, 16385, (256, 256))  # no factors cost less
        table, factors = (_rate(unit) for unit in (Multiplier(family="table", signed=True, products=noise), few))
        a, b = (codes.cuda() for codes in _codes(few, 4096, 4096, 4096))
        columns = b.T.contiguous().T  # as _int_mm likes them best
        rate = 4096**3 / _on_device(lambda: torch._int_mm(a, columns)) / few.factors().terms
    return [
        Row(name="any 8-bit table on CUDA, 4096^3", unit="MAC/s", ours=table, sense=">=", target=2e12),
        Row(
            name="5 terms on CUDA, 4096^3",
            unit="MAC/s",
            ours=factors,
            against="torch._int_mm's rate by terms",
            baseline=rate,
            sense=">=",
            target=0.4,
            bounds="ratio",
        ),
    ]


def _rate(unit: Multiplier) -> float:
    a, b = (codes.cuda() for codes in _codes(unit, 4096, 4096, 4096))
    kept = expand_weights(b, unit)
    assert torch.equal(approx_matmul(a, kept, unit)[:64].cpu(), approx_matmul(a[:64].cpu(), b.cpu(), unit))
    return 4096**3 / _on_device(lambda: approx_matmul(a, kept, unit))


def _on_device(call: Callable[[], object]) -> float:
    """Median seconds of a call on the GPU."""

    def waited() -> None:
        call()
        torch.cuda.synchronize()

    return medians(5, waited)[0]


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="hwlut-bench-") as folder:
        rows = [*matmul_rows(Path(folder)), *extreme_rows(), *training_rows(), *decomposition_rows()]
    rows += [*hardware_rows(), *cuda_rows()]
    report("multiplier", rows, {})


if __name__ == "__main__":
    main()
