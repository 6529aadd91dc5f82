"""Quantization search: budgets, time and memory beside one training, quantizers.

On one thread. What is found beside random choices is of `./dev bench search_found`, accuracies over several seeds of
`./dev bench search_accuracy`.
"""

import torch

from benchmarks.report import report
from benchmarks.search_budget import budget_rows
from benchmarks.search_quantize import rows as quantizer_rows
from benchmarks.search_spent import spent_rows


def main() -> None:
    torch.set_num_threads(1)
    report("search", [*quantizer_rows(), *budget_rows(), *spent_rows()], {})


if __name__ == "__main__":
    main()
