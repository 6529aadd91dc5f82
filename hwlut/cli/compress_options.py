"""What the options of `hwlut compress` ask for, and which do not go together."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwlut.cli.search_asked import Asked, flag

if TYPE_CHECKING:
    from hwlut.prune import Joint, Sequential
    from hwlut.search import Cost, Search

__all__ = ["compression_options", "cost_maker"]

_STAGES = ("warm_up", "projection", "joint")
_OF_STAGES = (*_STAGES, "projection_periods", "joint_periods")
_OF_JOINT = (*_OF_STAGES, "saliency", "frugality", "powers")


def compression_options(asked: Asked) -> "Joint | Sequential":
    """How it compresses."""
    from hwlut.prune import Joint, Sequential

    method = asked["method"]
    if method not in ("joint", "sequential"):
        raise ValueError(f"--method must be joint or sequential, not {method!r}")
    sparsity, keep = _sparsity(asked["sparsity"]), tuple(asked["keep"] or ())
    exclude = tuple(asked["exclude"] or ())
    bits = {name: _range(name, asked[name]) for name in ("weight_bits", "activation_bits")}
    if method == "sequential":
        asked.refuse(_OF_JOINT, "with --method sequential")
        return Sequential(sparsity=sparsity, keep=keep, search=_search(asked, bits, exclude))
    asked.refuse(("search",), "but with --method sequential")
    taken = asked.renamed(
        {name: name for name in (*_OF_STAGES, "frugality", "target_bits")} | {"cost_target": "target"}
    )
    for name in _STAGES:
        if name in taken and taken[name] >= 1 and taken[name].is_integer():
            taken[name] = int(taken[name])
    if "saliency" in asked:
        taken["saliency"] = [each.strip() for each in asked["saliency"].split(",")]
    return Joint(sparsity=sparsity, keep=keep, **bits, **taken, exclude=exclude, powers=asked["powers"])  # type: ignore[arg-type]


def _search(asked: Asked, bits: Mapping[str, tuple[int, int] | None], exclude: tuple[str, ...]) -> "Search":
    """Of formats of the least to the most bits of weights, for activations too where these have any."""
    from hwlut.fixed import Fixed
    from hwlut.search import Search

    weights, activations = bits["weight_bits"], bits["activation_bits"]
    if weights is None:
        raise ValueError("--weight-bits must be a range with --method sequential, not 0")
    if activations not in (None, weights):
        raise ValueError(
            f"--activation-bits must be 0 or the --weight-bits with --method sequential, not {asked['activation_bits']}"
        )
    given = asked.only(("target_bits", "cost_target"))
    if len(given) != 1:
        raise ValueError("--target-bits or --cost-target, one of them, must be given with --method sequential")
    method = asked["search"] or "uniform"
    same = "same" if method == "uniform" else "separate"
    return Search(
        formats=[Fixed(each) for each in range(weights[0], weights[1] + 1)],
        method=method,
        exclude=exclude,
        operands="weights" if activations is None else same,
        cost="memory" if asked["cost_type"] == "memory" else "bit_operations",
        warmup=0.1,
        **{"target_bits" if given == ["target_bits"] else "target": asked[given[0]]},
    )


def cost_maker(asked: Asked) -> "Callable[[Mapping[Any, Any]], Cost]":
    """What makes the cost of operations from their shapes."""
    from hwlut.search import CostTable, bit_operations, block_cost, memory

    given = asked["cost_type"]
    if given in (None, "compute", "memory"):
        return memory if given == "memory" else bit_operations
    if not Path(given).is_file():
        raise ValueError(f"--cost-type must be one of compute, memory, or a file of costs, not {given!r}")
    table = CostTable.load(given)
    maker: Any = partial(block_cost, table)
    named: Any = block_cost(table, {})
    maker.__name__ = named.__name__  # which a run that goes on must have again
    return maker


def _sparsity(text: str) -> float | int:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValueError(f"--sparsity must be a share of the groups or a number of them, not {text!r}")


def _range(name: str, text: str) -> tuple[int, int] | None:
    """L,H, or one number for both; 0 for none."""
    if text.strip() == "0":
        return None
    try:
        found = [int(each) for each in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in (1, 2):
        raise ValueError(f"{flag(name)} must be least and most bits such as 4,8, or 0 for none, not {text!r}")
    return found[0], found[-1]
