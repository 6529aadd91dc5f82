"""Matrix products by look-up: kernels, training steps, learning and simulated hardware, on one thread.

The batch engine of the hardware runs on every core. What needs a GPU is not run where there is none.
"""

import torch

from benchmarks.lut_codebooks import lut_codebooks_rows
from benchmarks.lut_hardware import hardware_rows
from benchmarks.lut_kernels import kernel_rows, random_unit
from benchmarks.lut_training import training_rows
from benchmarks.report import Row, report
from benchmarks.timing import medians
from hwlut.ops import lut_matmul
from hwlut.verify.tools import find_verilator


def cuda_rows() -> list[Row]:
    """The product on a GPU beside the dense int8 one."""
    figures = {"unit": "ms", "against": "torch._int_mm", "target": 1.0, "bounds": "ratio"}
    name = "look-up product on a GPU, integer L2, v 32, 4096 x 512 x 512"
    if not torch.cuda.is_available():
        return [Row(name=name, ours=None, **figures)]
    unit = random_unit("l2", k=16, v=32, size=512)
    codes = torch.randint(-128, 128, (4096, 512), dtype=torch.int8)
    weights = torch.randint(-128, 128, (512, 512), dtype=torch.int8, device="cuda")
    there = codes.cuda()
    assert torch.equal(lut_matmul(there, unit).cpu(), unit(codes))

    def waited(product: torch.Tensor) -> None:
        torch.cuda.synchronize()

    ours, dense = medians(21, lambda: waited(lut_matmul(there, unit)), lambda: waited(torch._int_mm(there, weights)))
    return [Row(name=name, ours=1e3 * ours, baseline=1e3 * dense, **figures)]


def main() -> None:
    torch.set_num_threads(1)
    rows = [*kernel_rows(), *training_rows(), *lut_codebooks_rows(), *hardware_rows(), *cuda_rows()]
    report("lut", rows, {"verilator": str(find_verilator()).removeprefix("Verilator ")})


if __name__ == "__main__":
    main()
