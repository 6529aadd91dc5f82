"""Whether a smaller model is what the masked one is."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from hwlut.graph.capture import capture
from hwlut.nn.quantized import FormatChoice
from hwlut.nn.quantized.layers import QuantizedLayer
from hwlut.prune.coupling import Groups, Removed
from hwlut.prune.features import kept_features
from hwlut.prune.places import checked, kept_results
from hwlut.quant.calibration import called
from hwlut.quant.modes import evaluating

__all__ = ["TOLERANCE", "difference", "first_difference", "mismatches"]

TOLERANCE = 1e-10
"""Greatest difference of models that are equal: what adding up in another order makes of float64."""


def difference(masked: nn.Module, pruned: nn.Module, sample: Any, *, quantized: bool = False) -> float:
    """The greatest difference of the outputs of two models, as a share of the greatest output, in float64.

    masked, pruned: called with `sample`, a tensor, a tuple or a dict, as copies in evaluation mode. quantized: with
    their quantizers; by default without. Each output counts for itself. Rounding to codes can make a difference of a
    whole step of what is none otherwise. inf where outputs differ in number, shape or finiteness.
    """
    expected, found = (_outputs(_real(model, quantized), sample) for model in (masked, pruned))
    if [each.shape for each in expected] != [each.shape for each in found]:
        return float("inf")
    return max(map(_relative, expected, found), default=0.0)


def _real(model: nn.Module, quantized: bool = False) -> nn.Module:
    """A copy of a model in float64, without quantizers unless they are to stay."""
    new = copy.deepcopy(model).double()
    for module in new.modules():
        if isinstance(module, FormatChoice) and not quantized:
            module.select(None)
    return new


def _outputs(model: nn.Module, sample: Any) -> list[torch.Tensor]:
    """The tensors that a model in float64 gives for a sample."""
    with evaluating(model), _InFloat64():
        result = called("sample", model, _in_float64(sample))
    return [each for each in tree_leaves(result) if isinstance(each, torch.Tensor)]


_REAL = (torch.float32, torch.float16, torch.bfloat16)


class _InFloat64(TorchFunctionMode):
    """What the model itself turns into real numbers of fewer bits becomes float64 too, as images of bytes do."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16):
            func = torch.Tensor.double
        args, kwargs = (
            tree_map(lambda x: torch.float64 if isinstance(x, torch.dtype) and x in _REAL else x, x)
            for x in (args, kwargs or {})
        )
        return func(*args, **kwargs)


def _in_float64(sample: Any) -> Any:
    """The sample with real numbers in float64."""
    return tree_map(lambda x: x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x, sample)


def _relative(expected: torch.Tensor, found: torch.Tensor) -> float:
    """The greatest difference of two tensors of a shape, by the greatest number of the first, if that is not 0."""
    if not expected.numel():
        return 0.0
    expected, found = expected.double(), found.double()
    same = (expected == found) | (expected.isnan() & found.isnan())
    gap = torch.where(same, 0.0, (expected - found).abs()).max()
    if not bool(gap.isfinite()):
        return float("inf")
    largest = expected[expected.isfinite()].abs().max() if bool(expected.isfinite().any()) else gap
    return float(gap / largest) if bool(largest) else float(gap)


def first_difference(masked: nn.Module, pruned: nn.Module, sample: Any, groups: Groups, removed: Removed) -> str:
    """The first operation whose results differ by more than 1e-10 where they stay, by kind, module and line.

    "what it returns" where none does.
    """
    left = kept_results(groups, checked(masked, groups, removed))
    expected, found = (_results(_real(model), _in_float64(sample)) for model in (masked, pruned))
    for operation in groups.graph:
        if operation.name in expected and operation.name in found:
            theirs = expected[operation.name]
            for dim, places in left.get(operation.name, {}).items():
                theirs = theirs.index_select(dim, places.to(theirs.device))
            ours = found[operation.name]
            if ours.shape != theirs.shape or not _relative(theirs, ours) <= TOLERANCE:
                return f"{operation.kind} of {operation.path!r} ({operation.line})"
    return "what it returns"


def _results(model: nn.Module, sample: Any) -> dict[str, torch.Tensor]:
    """The first result of each node of a model, by the node's name."""
    with _InFloat64():
        module = capture(model, sample).module()
    assert isinstance(module, torch.fx.GraphModule)
    noting = _Noting(module)
    positional, named = ((), sample) if isinstance(sample, dict) else (sample, {})
    if not isinstance(positional, (tuple, list)):
        positional = (positional,)
    with torch.no_grad():
        noting.run(*tree_leaves((positional, named)))
    return noting.found


class _Noting(torch.fx.Interpreter):
    """Runs a graph and notes the results of its nodes."""

    def __init__(self, module: torch.fx.GraphModule):
        super().__init__(module)
        self.found: dict[str, torch.Tensor] = {}

    def run_node(self, node: torch.fx.Node) -> Any:
        result = super().run_node(node)
        tensor = next((each for each in tree_leaves(result) if isinstance(each, torch.Tensor)), None)
        if tensor is not None:
            self.found[node.name] = tensor.clone()
        return result


def mismatches(masked: nn.Module, pruned: nn.Module, sample: Any, groups: Groups, removed: Removed) -> float:
    """The share of activation codes that differ, 0 to 1, of all that the smaller model's quantized layers read.

    masked, pruned: both run on `sample` as they are, in evaluation mode. groups, removed: what `pruned` lacks. Every
    input of a quantized layer is compared, code by code, at the features that the layer keeps: what it loses is not
    there to be compared. Where sums are added up in another order their last bit differs, and a value between two codes
    may fall to the other side. Layers whose input is not quantized have no codes; 0 where there are none at all.
    """
    left = kept_features(masked, groups, removed)
    expected, found = _codes(masked, sample), _codes(pruned, sample)
    differing = total = 0
    for path, calls in found.items():
        for ours, theirs in zip(calls, expected[path], strict=True):
            if path in left:
                dim, places = left[path]
                theirs = theirs.index_select(dim, places.to(theirs.device))
            differing += int((ours != theirs).sum())
            total += ours.numel()
    return differing / total if total else 0.0


def _codes(model: nn.Module, sample: Any) -> dict[str, list[torch.Tensor]]:
    """By path, the codes that each call of a quantized layer reads."""
    found: dict[str, list[torch.Tensor]] = {}
    with evaluating(model), _noting(model, found):
        called("sample", model, sample)
    return found


@contextmanager
def _noting(model: nn.Module, found: dict[str, list[torch.Tensor]]) -> Iterator[None]:
    handles = []
    for path, module in model.named_modules():
        if isinstance(module, QuantizedLayer) and module.input_choice is not None:
            quantizer = module.input_choice.quantizer(module.input_choice.selected)
            if quantizer is not None:
                calls = found.setdefault(path, [])

                def note(_: nn.Module, given: Any, calls: Any = calls, quantizer: Any = quantizer) -> None:
                    calls.append(quantizer.codes(given[0]))

                handles.append(module.input_choice.register_forward_pre_hook(note))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
