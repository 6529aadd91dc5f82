"""Matrix products by look-up: kernels, training steps, learning and simulated hardware, on one thread.

The batch engine of the hardware runs on every core. What needs a GPU is not run where there is none.
"""

import torch

from benchmarks.lut_codebooks import lut_codebooks_rows
from benchmarks.lut_hardware import hardware_rows
from benchmarks.lut_kernels import kernel_rows
from benchmarks.lut_training import training_rows
from benchmarks.report import report
from hwlut.verify.tools import find_verilator


def main() -> None:
    torch.set_num_threads(1)
    rows = [*kernel_rows(), *training_rows(), *lut_codebooks_rows(), *hardware_rows()]
    report("lut", rows, {"verilator": str(find_verilator()).removeprefix("Verilator ")})


if __name__ == "__main__":
    main()
