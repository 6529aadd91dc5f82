"""Learning the numbers of look-up matrix products: time of k-means, output errors of refitted tables, on one thread."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.report import Row
from benchmarks.timing import medians
from examples.data import mnist
from examples.models import VisionTransformer, train
from hwlut.codebooks import kmeans, nearest, refit
from hwlut.codebooks.onehot import gathered

__all__ = ["error_rows", "kmeans_rows"]

_K, _V = 16, 8
_ROWS, _FEATURES = 100_000, 512
_ITERATIONS = 4


def kmeans_rows() -> list[Row]:
    """An iteration of 64 codebooks of 16 prototypes, beside the product of all sub-vectors with all prototypes.

    The product is taken as torch.bmm gives it, and into memory that is there already: most of the time of the
    former is the system's, for the pages of its result.
    """
    random = torch.Generator().manual_seed(0)
    data = torch.randn(_ROWS, _FEATURES, generator=random)
    codebooks = _FEATURES // _V
    prototypes = kmeans(data, _K, _V, iterations=0).prototypes
    x, columns = data.unflatten(1, (codebooks, _V)).transpose(0, 1).contiguous(), prototypes.mT.contiguous()
    into = torch.empty(codebooks, _ROWS, _K)
    none, some, fresh, again = medians(
        3,
        partial(kmeans, data, _K, _V, iterations=0),
        partial(kmeans, data, _K, _V, iterations=_ITERATIONS),
        lambda: torch.bmm(x, columns),
        lambda: torch.bmm(x, columns, out=into),
    )
    assert kmeans(data, _K, _V, iterations=_ITERATIONS).iterations == _ITERATIONS
    name = f"k-means iteration, {codebooks} codebooks of {_K}, {_ROWS:,} x {_FEATURES}"
    return [
        Row(
            name=name,
            unit="ms",
            ours=1e3 * (some - none) / _ITERATIONS,
            against=against,
            baseline=1e3 * seconds,
            target=2,
            bounds="ratio",
        )
        for against, seconds in (("torch.bmm", fresh), ("torch.bmm into existing memory", again))
    ]


def error_rows() -> list[Row]:
    """Output errors of the linear layers of a vision transformer on test digits, tables learned on training digits."""
    train_set, test_set = mnist()
    torch.manual_seed(0)
    model = VisionTransformer()
    train(model, train_set, epochs=10, rate=2e-3)
    model.eval()
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    seen, held_out = (_inputs(model, layers, images) for images, _ in (train_set, test_set))
    rows, totals = [], torch.zeros(2, dtype=torch.float64)
    for name, layer in layers.items():
        errors = _errors(layer.weight.detach(), seen[name], held_out[name])
        totals += torch.tensor(errors)
        rows.append(_error_row(f"layer {name}, {layer.in_features} to {layer.out_features}", *errors))
    return [_error_row("mean of all layers", *(totals / len(layers)).tolist()), *rows]


def _inputs(model: nn.Module, layers: dict[str, nn.Module], images: Tensor) -> dict[str, Tensor]:
    """What each layer is given, [rows, features]."""
    inputs = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, arguments: inputs.update({name: arguments[0].flatten(0, -2)})

    hooks = [layer.register_forward_pre_hook(keep(name)) for name, layer in layers.items()]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return inputs


def _errors(weight: Tensor, seen: Tensor, held_out: Tensor) -> tuple[float, float]:
    """Squared error over squared output on the rows held out: of the refitted table, and of the prototypes'."""
    prototypes = kmeans(seen, _K, _V).prototypes
    blocks = nn.functional.pad(weight, (0, -weight.shape[1] % _V)).unflatten(1, (-1, _V))
    plain = torch.einsum("ckv,mcv->ckm", prototypes, blocks)
    table = refit(nearest(seen, prototypes), seen @ weight.T, _K, prior=plain)
    indices, outputs = nearest(held_out, prototypes), held_out @ weight.T
    after, before = (
        float((gathered(indices, each) - outputs).square().sum() / outputs.square().sum()) for each in (table, plain)
    )
    return after, before


def _error_row(name: str, ours: float, baseline: float) -> Row:
    return Row(
        name=f"output error of the refitted table, {name}",
        unit="of the output",
        ours=ours,
        against="prototypes times weights",
        baseline=baseline,
        target=0.8,
        bounds="ratio",
    )


def lut_codebooks_rows() -> list[Row]:
    """All of them."""
    return [*kmeans_rows(), *error_rows()]
