"""What the options of `hwlut search` ask for, and which do not go together."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwlut.cli.search_asked import Asked, flag, found_by_all

if TYPE_CHECKING:
    from hwlut.quant import Format
    from hwlut.search import Search
    from hwlut.search.front import MakeCost
    from hwlut.train import Finetune, Task

__all__ = ["budgets", "cost_maker", "search_options", "training_options"]

_FIXED = ("bits", "weight_bits", "activation_bits")
_DECISIONS = ("block_search", "single_decision", "decide")
_OF_SEARCHES = (
    "method", "search_space", *_DECISIONS, "separate", "weight_only_search", "cost_target", "target_bits",
    "cost_function", "cost_beta", "rl_learning_rate", "delay_steps", "max_entropy_beta", "entropy_schedule_type",
    "share", "evaluations", "jobs", "dask",
)  # fmt: skip
_POLICIES = ("oneshot", "gradient")
_SHARING = (*_POLICIES, "evolution", "random")
_OF_METHODS: Mapping[str, tuple[str, ...]] = {
    "cost_function": ("oneshot",),
    "cost_beta": _POLICIES,
    "rl_learning_rate": _POLICIES,
    "max_entropy_beta": _POLICIES,
    "entropy_schedule_type": _POLICIES,
    "delay_steps": _SHARING,
    "share": _SHARING,
    "evaluations": ("evolution", "random"),
}
_SEARCH_NAMES = {
    "cost_function": "function",
    "cost_beta": "beta",
    "rl_learning_rate": "rate",
    "delay_steps": "delay_steps",
    "max_entropy_beta": "entropy",
    "share": "share",
    "warmup": "warmup",
    "evaluations": "evaluations",
    "held_out": "held_out",
    "eval_batch_size": "held_out_batch",
}
_TRAINING_NAMES = {
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "learning_rate": "learning_rate",
    "step_rate": "step_rate",
    "optimizer": "optimizer",
    "ema": "ema",
    "eval_steps": "evaluate_every",
    "log_steps": "log_every",
}
_COSTS = {"compute": "bit_operations", "memory": "memory"}
_SPACE = "4,8"


def search_options(asked: Asked) -> "Search":
    """How it searches; of several budgets, with the first."""
    from hwlut.nn.quantized import Operands
    from hwlut.search import Search

    fixed = asked.only(_FIXED)
    if "weight_only_search" in asked and fixed == ["activation_bits"]:
        fixed = []
    if cost_maker(asked) is not None:
        asked.refuse((*_FIXED, "target_bits"), "with a --cost-type of a file, which takes a --cost-target")
    if fixed:
        asked.refuse(_OF_SEARCHES, f"with {flag(fixed[0])}, which searches nothing")
        chosen = _uniform(asked)
    else:
        chosen = _searched(asked)
    weights, activations = _quantizers(asked)
    for format in (*chosen["formats"], chosen.get("activation")):
        if format is not None:
            operands = Operands(weights, activations)
            operands.weight(format, 0, 1)
            operands.activation(format)
    taken = asked.renamed(_SEARCH_NAMES)
    if "weights" in asked and asked["model"] is not None:
        taken.setdefault("warmup", 0.0)
    if "entropy_schedule_type" in asked:
        named = asked["entropy_schedule_type"]
        taken["schedule"] = "step" if named == "heaviside" else named
    return Search(
        **chosen,
        include=asked["include"] or ("*",),
        exclude=asked["exclude"] or (),
        quantizers=Operands(weights, activations),
        cost=_COSTS.get(asked["cost_type"], "bit_operations"),
        **taken,
    )


def cost_maker(asked: Asked) -> "MakeCost | None":
    """What makes the cost of a file; None for those by arithmetic."""
    from hwlut.search import file_cost

    given = asked["cost_type"]
    if given is None or given in _COSTS:
        return None
    if not Path(given).is_file():
        raise ValueError(f"--cost-type must be one of {', '.join(_COSTS)}, or a file of costs, not {given!r}")
    return partial(file_cost, found_by_all(asked, Path(given)))


def budgets(asked: Asked) -> tuple[float, ...]:
    """The targets that were given."""
    given = asked.only(("cost_target", "target_bits"))
    return _numbers(given[0], asked[given[0]]) if given else ()


def training_options(asked: Asked, task: "Task", held_out: float) -> "Finetune":
    """How it trains."""
    from hwlut.train import Finetune

    if "max_steps" in asked:
        asked.refuse(("num_train_epochs",), "with --max-steps")
    if asked["fp16"]:
        asked.refuse(("bf16",), "with --fp16")
        _check_gpu(asked["device"])
    accumulated = asked["gradient_accumulation_steps"]
    batch = asked["train_batch_size"] * accumulated
    return Finetune(
        **asked.renamed(_TRAINING_NAMES),
        batch=batch,
        accumulate=accumulated,
        amp="float16" if asked["fp16"] else "bfloat16" if asked["bf16"] else None,
        save_every=_save_every(asked, len(task.train) - round(held_out * len(task.train)), batch),
        seed=asked["seed"],
        workers=asked["workers"],
        recompute=asked["gradient_checkpointing"],
        tensorboard=asked["tensorboard"],
    )


def _uniform(asked: Asked) -> dict[str, Any]:
    """One precision for all, and what it costs as the budget."""
    from hwlut.quant.precision import Precision

    if "bits" in asked:
        asked.refuse(("weight_bits", "activation_bits"), "with --bits")
        weight = activation = _format("bits", asked["bits"])
    else:
        weight, activation = (_format(name, asked[name] or "0") for name in ("weight_bits", "activation_bits"))
    precision = Precision(weight, activation)
    bits = max(precision.weight_bits, precision.activation_bits)
    kept = {"method": "uniform", "formats": (weight,), "decide": "all", "target_bits": float(bits)}
    return kept if weight == activation else kept | {"operands": "weights", "activation": activation}


def _searched(asked: Asked) -> dict[str, Any]:
    from hwlut.search.options import METHODS

    method = asked["method"] or "oneshot"
    if method not in METHODS:
        raise ValueError(f"--search must be one of {', '.join(METHODS)}, not {method!r}")
    for name, methods in _OF_METHODS.items():
        if method not in methods:
            asked.refuse((name,), f"with --search {method}; it is of {', '.join(methods)}")
    if method == "oneshot" and (asked["cost_function"] or "within") == "within":
        asked.refuse(("cost_beta",), "with --cost-function within, which draws only what meets the budget")
    decisions, limits = asked.only(_DECISIONS), asked.only(("cost_target", "target_bits"))
    if len(decisions) > 1:
        asked.refuse(decisions[1:], f"with {flag(decisions[0])}")
    if len(limits) != 1:
        raise ValueError("search must be given a budget, --target-bits or --cost-target, one of them")
    targets = budgets(asked)
    if len(targets) == 1:
        asked.refuse(("jobs", "dask"), f"with one {flag(limits[0])}: a front has several")
    if "jobs" in asked:
        asked.refuse(("dask",), "with --jobs")
    if "dask" in asked:
        asked.refuse(("threads",), "with --dask: they are those of its workers")
    formats = tuple(_format("search_space", each) for each in (asked["search_space"] or _SPACE).split(","))
    if len(formats) < 2 or len(set(formats)) != len(formats):
        raise ValueError(f"--search-space must be two formats and more, all different, not {asked['search_space']!r}")
    decide = {"block_search": "block", "single_decision": "all", "decide": asked["decide"]}
    kept: dict[str, Any] = {
        "method": method,
        "formats": formats,
        "decide": decide[decisions[0]] if decisions else "layer",
        "target" if limits == ["cost_target"] else "target_bits": targets[0],
    }
    if asked["weight_only_search"]:
        asked.refuse(("separate",), "with --weight-only-search")
        return kept | {"operands": "weights", "activation": _format("activation_bits", asked["activation_bits"] or "0")}
    return kept | {"operands": "separate" if asked["separate"] else "same"}


def _quantizers(asked: Asked) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the quantizers of weights and of activations."""
    from hwlut.nn.quantized import Operands

    weights, activations = dict(Operands().weights), dict(Operands().activations)
    if asked["per_channel"] is False:
        weights["granularity"] = "tensor"
    if asked["per_token"]:
        asked.refuse(("act_range_percentile",), "with --per-token: each token has its own range")
        activations |= {"granularity": "token", "source": "dynamic"}
    for name, options in (("weight_range_percentile", weights), ("act_range_percentile", activations)):
        if name in asked:
            options |= {"method": "percentile", "percentile": asked[name]}
    return weights, activations


def _save_every(asked: Asked, samples: int, batch: int) -> int | None:
    strategy = asked["save_strategy"]
    if strategy not in (None, "no", "steps", "epoch"):
        raise ValueError(f"--save-strategy must be one of no, steps, epoch, not {strategy!r}")
    if strategy != "steps":
        asked.refuse(("save_steps",), "but with --save-strategy steps")
    if strategy == "no":
        asked.refuse(("resume",), "with --save-strategy no, which keeps nothing to go on from")
        return 0
    if strategy == "steps":
        if (asked["save_steps"] or 0) < 1:
            raise ValueError(f"--save-steps must be at least 1 with --save-strategy steps, not {asked['save_steps']}")
        return asked["save_steps"]
    return max(1, samples // batch) if strategy == "epoch" else None


def _check_gpu(device: str | None) -> None:
    import torch

    if not (device or "cuda").startswith("cuda") or not torch.cuda.is_available():
        raise ValueError("--fp16 must be run on a GPU, which scales its gradients; elsewhere take --bf16")


def _format(name: str, text: str) -> "Format | None":
    from hwlut.quant import parse_format

    if text.strip() == "0":
        return None
    try:
        return parse_format(text)
    except ValueError as error:
        raise ValueError(f"{flag(name)}: {error}, or 0 for none") from None


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        found = tuple(map(float, text.split(",")))
    except ValueError:
        raise ValueError(f"{flag(name)} must be a number, or several parted by commas, not {text!r}") from None
    if len(set(found)) != len(found):
        raise ValueError(f"{flag(name)} must be all different, not {text!r}")
    return found
