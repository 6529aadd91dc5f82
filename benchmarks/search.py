"""Quantization search: budgets, what is found beside random choices, time and memory beside one training, quantizers.

On one thread. Accuracies over several seeds are printed by `python -m examples.mixed_precision`.
"""

import torch

from benchmarks.report import report
from benchmarks.search_budget import budget_rows
from benchmarks.search_found import found_rows
from benchmarks.search_quantize import rows as quantizer_rows
from benchmarks.search_spent import spent_rows


def main() -> None:
    torch.set_num_threads(1)
    report("search", [*quantizer_rows(), *budget_rows(), *spent_rows(), *found_rows()], {})


if __name__ == "__main__":
    main()
