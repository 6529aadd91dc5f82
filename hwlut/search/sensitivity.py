"""How much each choice of one layer alone changes what a model does."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwlut.fields import shorten
from hwlut.files import digest_of
from hwlut.quant.calibration import batches_of, called
from hwlut.quant.modes import evaluating, keeping_modes
from hwlut.records import held, read_record, write_record
from hwlut.unit import Unit

__all__ = ["Harm", "Measure", "harms", "put", "sensitivities"]

Measure = Callable[[nn.Module, Any], Any]
"""A number for a model on a batch, the less the better: its loss, for one."""

_SCHEMA = "hwlut.sensitivities/1"
_LIMIT = 64 << 20


class Harm:
    """How much worse than at first a model does on some batches: called on the model, gives a number.

    Parameters
    ----------
    model: as it is at first, which is measured at once.
    data: batches, read once and held: each a tensor, a tuple of positional or a dict of keyword arguments.
    measure: a `Measure`, of which the mean over the batches counts, less that at first; by default the mean squared
        difference of the model's output, a tensor, from that at first.

    The model runs in evaluation mode, without gradients, and is in its modes afterwards. `key` tells one such
    measurement from another, by what the model gave at first.
    """

    def __init__(self, model: nn.Module, data: Iterable[Any], measure: Measure | None = None):
        self._batches = list(batches_of("sensitivities", data))
        if not self._batches:
            raise ValueError("sensitivities data must be at least one batch")
        self._measure = measure
        with evaluating(model):
            if measure is None:
                self._outputs = [_output(model, batch) for batch in self._batches]
                parts: list[Any] = [output.double().cpu().numpy().tobytes() for output in self._outputs]
            else:
                self._base = self._mean(model, measure)
                parts = [self._base]
        self.key = digest_of(measure is None, *parts)

    def __call__(self, model: nn.Module) -> float:
        with evaluating(model):
            if self._measure is not None:
                return self._mean(model, self._measure) - self._base
            pairs = zip(self._batches, self._outputs)
            squares = [float((_output(model, batch).double() - at_first).square().sum()) for batch, at_first in pairs]
            return math.fsum(squares) / sum(output.numel() for output in self._outputs)

    def _mean(self, model: nn.Module, measure: Measure) -> float:
        return math.fsum(float(measure(model, batch)) for batch in self._batches) / len(self._batches)


def sensitivities(
    model: nn.Module,
    data: Iterable[Any],
    choices: Mapping[str, Iterable[Any]],
    apply: Callable[[nn.Module, Any], nn.Module],
    measure: Measure | None = None,
    *,
    file: str | Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[tuple[str, Any], float]:
    """What `hwlut.search.assign` needs: by (layer, choice), how much the choice harms where it alone is applied.

    Parameters
    ----------
    data, measure: as for `Harm`.
    choices: of every layer, by its name in the model, the choices it has, any hashables.
    apply: gives the module that stands in for a layer with a choice, and leaves the layer as it is.
    file: keeps what was measured, written anew after each choice, so that an interrupted run goes on.
    progress: called after each choice with how many are done, of how many, and the layer.

    Afterwards the model holds the very modules it held, in their modes. Raises ValueError for unknown layers, no
    batches, a result that is not finite, or a file of another measurement.
    """
    return harms(Harm(model, data, measure), model, choices, apply, file=file, progress=progress)


def harms(
    harm: Harm,
    model: nn.Module,
    choices: Mapping[str, Iterable[Any]],
    apply: Callable[[nn.Module, Any], nn.Module],
    *,
    file: str | Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[tuple[str, Any], float]:
    """`sensitivities` by a `Harm` that was made of the model."""
    wanted = [(layer, choice) for layer, given in choices.items() for choice in given]
    places = {layer: _module(model, layer) for layer, _ in wanted}
    kept = {} if file is None or not Path(file).exists() else _read(Path(file), harm.key)
    found = {}
    for done, (layer, choice) in enumerate(wanted, 1):
        label = json.dumps([layer, choice.digest if isinstance(choice, Unit) else repr(choice)])
        if label not in kept:
            with _standing_in(model, places[layer], apply(places[layer], choice)):
                kept[label] = harm(model)
            if not math.isfinite(kept[label]):
                raise ValueError(f"sensitivity of layer {layer!r}, choice {shorten(choice)} must be finite")
            if file is not None:
                write_record(Path(file), "sensitivities", _SCHEMA, {"key": harm.key, "values": kept})
        found[layer, choice] = kept[label]
        if progress is not None:
            progress(done, len(wanted), layer)
    return found


def _module(model: nn.Module, name: str) -> nn.Module:
    """The submodule of that name."""
    found = dict(model.named_modules(remove_duplicate=False)).get(name) if name else None
    if found is None:
        raise ValueError(f"layer must be the name of a module in the model, not {shorten(name)}")
    return found


def put(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """`new` at every place of `old`, in its mode."""
    new.train(old.training)
    names = [name for name, module in model.named_modules(remove_duplicate=False) if module is old]
    for name in names:
        model.set_submodule(name, new)


@contextmanager
def _standing_in(model: nn.Module, layer: nn.Module, other: nn.Module) -> Iterator[None]:
    """`other` at the places of `layer`, for a while."""
    if not isinstance(other, nn.Module):
        raise TypeError(f"sensitivities apply must return a module, not {shorten(other)}")
    with keeping_modes(layer):
        put(model, layer, other)
        try:
            yield
        finally:
            put(model, other, layer)


def _output(model: nn.Module, batch: Any) -> torch.Tensor:
    output = called("sensitivities", model, batch)
    if not isinstance(output, torch.Tensor):
        raise TypeError(f"sensitivities need a model whose output is a tensor, or a measure; not {shorten(output)}")
    return output


def _read(path: Path, key: str) -> dict[str, float]:
    """What the file holds of the measurement `key`."""
    content = read_record(path, "sensitivities", _SCHEMA, ("key", "values"), _LIMIT)
    if content["key"] != key:
        raise ValueError(f"{path}: sensitivities must be of this model, data and measure, not of others")
    try:
        return held("values", content["values"], Mapping[str, float])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
