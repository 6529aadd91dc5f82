"""Matrix products by an approximate multiplier, exactly the sums of its products."""

import functools
import math
from collections.abc import Callable

import torch

from hwlut.ops.approx_cost import cost
from hwlut.ops.approx_expansion import (
    ExpandedWeights,
    check_codes,
    chunks,
    expand_weights,
    factors_of,
    matrices,
    result,
    table_of,
)
from hwlut.ops.approx_factors import approx_factors
from hwlut.ops.approx_table import approx_table, sum_of_products
from hwlut.units.multiplier import PAIRS_LIMIT, Multiplier

__all__ = ["approx_matmul", "approx_matmul_path", "definition"]

_TABULATED = 1 << 16  # pairs that are worth a table whatever the number of products
_TABLES = 2  # held at a time, each of up to 2^24 products
_tables: dict[tuple[Multiplier, torch.device], torch.Tensor] = {}


def approx_matmul(a: torch.Tensor, b: torch.Tensor | ExpandedWeights, multiplier: Multiplier) -> torch.Tensor:
    """``sum over k of multiplier(a[..., m, k], b[..., k, n])``, exactly: int32 or int64 [..., M, N].

    Parameters
    ----------
    a: codes [..., M, K], uint8, int8, int16, int32 or int64, taken to lie in the format ``multiplier.a``: one outside
        it is held to the nearer end.
    b: codes [..., K, N] in the format ``multiplier.b`` likewise, or `ExpandedWeights` of them for this multiplier.
    multiplier: a `Multiplier`.

    Leading dimensions broadcast as in torch.matmul. The result is int64 where ``multiplier.exact_bound(K)`` does not
    fit int32. Raises TypeError for another kind of argument, ValueError for shapes or devices that do not fit and for
    weights that were expanded for another multiplier.
    """
    codes = b.codes if isinstance(b, ExpandedWeights) else b
    check_codes("a", a, multiplier)
    check_codes("b", codes, multiplier)
    if isinstance(b, ExpandedWeights) and b.multiplier is not multiplier and b.multiplier.digest != multiplier.digest:
        raise ValueError("approx_matmul multiplier must be the one that the weights were expanded for")
    (m, k), (depth, n) = a.shape[-2:], codes.shape[-2:]
    if k != depth:
        raise ValueError(f"approx_matmul a must be [..., M, {depth}] beside b, not {list(a.shape)}")
    if codes.device != a.device:
        raise ValueError(f"approx_matmul b must be on {a.device} like a, not {codes.device}")
    try:
        shape = torch.broadcast_shapes(a.shape[:-2], codes.shape[:-2])
    except RuntimeError:
        raise ValueError(
            f"approx_matmul a and b must broadcast in their leading dimensions, not {list(a.shape)} and"
            f" {list(codes.shape)}"
        ) from None
    path = approx_matmul_path(multiplier, m, k, n, a.device)
    if path == "torch":
        return definition(a, codes, multiplier)
    batch = codes.shape[:-2]
    shared = math.prod(batch) == 1  # then every row of a meets the same b
    count = math.prod(shape)
    rows = a.expand(*shape, m, k).reshape(*((1, count * m) if shared else (count, m)), k)
    spread = functools.partial(_spread, batch=batch, shape=torch.Size([1]) if shared else shape)
    if path == "table":
        sums = _by_table(rows, spread(matrices(codes)), multiplier)
    else:
        expanded = b if isinstance(b, ExpandedWeights) else expand_weights(b, multiplier)
        sums = _by_factors(rows, expanded, spread)
    return sums.reshape(*shape, m, n)


def _spread(tensor: torch.Tensor, batch: torch.Size, shape: torch.Size) -> torch.Tensor:
    """[prod(batch), ...] broadcast to [prod(shape), ...]."""
    rest = tensor.shape[1:]
    if math.prod(batch) == math.prod(shape):
        return tensor
    return tensor.reshape(*batch, *rest).expand(*shape, *rest).reshape(math.prod(shape), *rest)


def _by_table(a: torch.Tensor, b: torch.Tensor, multiplier: Multiplier) -> torch.Tensor:
    dtype = result(multiplier, a.shape[2])  # where it is int32, sums are taken modulo 2^32 throughout
    total: torch.Tensor | int = 0
    for plane in table_of(multiplier, a.device):
        for start, stop in chunks(a.shape[2], a.shape[2] if dtype == torch.int32 else plane.depth):
            arguments = (plane.entries, multiplier.a.min, multiplier.b.min, plane.offset)
            sums = approx_table(a[..., start:stop], b[:, start:stop], *arguments).to(dtype)
            total = total + (sums if plane.weight == 1 else plane.weight * sums)
    assert isinstance(total, torch.Tensor)
    return total


def _by_factors(a: torch.Tensor, b: ExpandedWeights, spread: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    low, q = b.multiplier.a.min, spread(b.q)
    no_p, no_q = q.new_empty(0, dtype=torch.int32), torch.zeros_like(q, dtype=torch.int32)
    if result(b.multiplier, a.shape[2]) == torch.int32:  # modulo 2^32 throughout
        first, *others = b.parts
        total = approx_factors(a, first.u, b.p.int(), spread(first.v), q.int(), low)
        for part in others:
            total.add_(approx_factors(a, part.u, no_p, spread(part.v), no_q, low), alpha=part.weight)
        return total
    total = q[:, None].expand(-1, a.shape[1], -1).clone()
    if len(b.p):
        total += b.p[a.long().clamp(low, b.multiplier.a.max) - low].sum(-1, keepdim=True)
    for part in b.parts:
        sums = approx_factors(a[..., part.start : part.stop], part.u, no_p, spread(part.v), no_q, low)
        total.add_(sums, alpha=part.weight)
    return total


def approx_matmul_path(multiplier: Multiplier, m: int, k: int, n: int, device: torch.device | str = "cpu") -> str:
    """How `approx_matmul` computes [m, k] times [k, n] by `multiplier` on `device`: the way of least cost.

    "factors", as a short sum of matrix products; "table", by the table of its products, of up to 256 x 256; or
    "torch", the definition, where there is neither.
    """
    device = torch.device(device)
    planes = len(table_of(multiplier, device))
    factors = factors_of(multiplier, result(multiplier, k) == torch.int64, device)
    if factors is None:
        return "table" if planes else "torch"
    known = cost(device)
    return "factors" if not planes or known.factors(factors.terms, n) <= planes * known.table(m, n) else "table"


def definition(a: torch.Tensor, b: torch.Tensor, multiplier: Multiplier) -> torch.Tensor:
    """What `approx_matmul` of codes means, in plain torch, a bounded number of products at a time."""
    (m, k), n = a.shape[-2:], b.shape[-1]
    worth = multiplier.pairs <= min(PAIRS_LIMIT, max(_TABULATED, m * k * n))
    product = _look_up(multiplier, a.device) if worth or (multiplier, a.device) in _tables else multiplier
    held_a, held_b = (
        codes.long().clamp(format.min, format.max) for codes, format in ((a, multiplier.a), (b, multiplier.b))
    )
    return sum_of_products(held_a, held_b, product).to(result(multiplier, k))


def _look_up(multiplier: Multiplier, device: torch.device) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    flat, (low_a, low_b) = _products(multiplier, device), (multiplier.a.min, multiplier.b.min)
    return lambda a, b: flat[((a - low_a) << multiplier.b.bits) + (b - low_b)]


def _products(multiplier: Multiplier, device: torch.device) -> torch.Tensor:
    """Flat, kept for the latest few."""
    products = _tables.pop((multiplier, device), None)
    if products is None:
        products = multiplier.products().flatten().to(device)
    _tables[multiplier, device] = products
    for oldest in list(_tables)[:-_TABLES]:
        _tables.pop(oldest, None)
    return products
