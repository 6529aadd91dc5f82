"""A categorical policy over the choices of every decision, and how rewards change it."""

import math
from collections.abc import Mapping, Sequence

import torch

from hwlut.quant.precision import Precision
from hwlut.search.space import Decision
from hwlut.train.processes import Processes

__all__ = ["Policy"]

_DECAY = 0.99
_TINY = 1e-30

Chosen = Mapping[str, Precision]


class Policy:
    """Choices drawn independently for each head of each decision, from a softmax of its logits.

    Learned by REINFORCE (Williams, 1992, "Simple statistical gradient-following algorithms for connectionist
    reinforcement learning"): the gradient of the expected reward is that of the log-probability of what was drawn,
    times the reward over a baseline. The baseline is, of two draws, the other (Kool et al., "Buy 4 REINFORCE Samples,
    Get a Baseline for Free!", 2019), and of what each choice adds, a linear critic, whose own expectation is
    differentiated exactly (Gu et al., "Q-Prop", ICLR 2017): a ridge regression over all rewards so far. Rewards count
    in their running root mean square; steps are plain gradient ascent, in which logits keep the proportions of what
    choices add. Everything is float64 on the CPU.

    Parameters
    ----------
    decisions: what is decided.
    rate: of the ascent.
    """

    def __init__(self, decisions: Sequence[Decision], rate: float):
        self._decisions = tuple(decisions)
        self._sizes = [size for decision in decisions for size in decision.heads]
        total = sum(self._sizes)
        self._rate = rate
        self.logits = [torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in self._sizes]
        self._square = torch.full((), math.nan, dtype=torch.float64)
        self._gram = torch.eye(total, dtype=torch.float64)
        self._moment = torch.zeros(total, dtype=torch.float64)

    def draw(self, generator: torch.Generator, uniform: bool = False) -> dict[str, Precision]:
        """A precision for each decision; `uniform` takes all to be as likely."""
        places = []
        for logits in self.logits:
            shares = torch.ones_like(logits) if uniform else logits.detach().softmax(0)
            places.append(int(torch.multinomial(shares, 1, generator=generator)))
        return self._chosen(places)

    def learn(self, one: Chosen, other: Chosen, difference: float, entropy_weight: float) -> None:
        """Take a step by the reward of `one` less that of `other`, and less `entropy_weight` times the entropy."""
        square = difference**2
        self._square.fill_(square if math.isnan(self._square) else _DECAY * float(self._square) + (1 - _DECAY) * square)
        size = max(float(self._square) ** 0.5, _TINY)
        added = torch.linalg.solve(self._gram, self._moment)
        apart = torch.zeros_like(self._moment)
        for part, a, b in zip(apart.split(self._sizes), self._places(one), self._places(other)):
            part[a] += 1
            part[b] -= 1
        rest = difference - float(apart @ added)
        self._gram.mul_(_DECAY).add_(torch.outer(apart, apart)).diagonal().add_(1 - _DECAY)
        self._moment.mul_(_DECAY).add_(apart * difference)
        shares = torch.cat([logits.softmax(0) for logits in self.logits])
        log_shares = torch.cat([logits.log_softmax(0) for logits in self.logits])
        reward = (shares @ added + rest / 2 * (log_shares @ apart)) / size
        self._ascend(reward - entropy_weight * self.entropy())

    def _ascend(self, objective: torch.Tensor) -> None:
        for logits, slope in zip(self.logits, torch.autograd.grad(objective, self.logits)):
            with torch.no_grad():
                logits.add_(slope, alpha=self._rate)

    def entropy(self) -> torch.Tensor:
        """The mean entropy of the heads, in nats."""
        log_shares = [logits.log_softmax(0) for logits in self.logits]
        return torch.stack([-(each.exp() * each).sum() for each in log_shares]).mean()

    def shares(self, fixed: bool = False) -> list[list[torch.Tensor]]:
        """Probabilities of each head of each decision; `fixed` without a gradient."""
        logits = iter(self.logits)
        shares = [[next(logits).softmax(0) for _ in decision.heads] for decision in self._decisions]
        return [[each.detach() for each in heads] for heads in shares] if fixed else shares

    def descend(self, group: Processes) -> None:
        """Take a step down the gradient that a loss of `shares` left, the mean over the processes."""
        for logits in self.logits:
            if logits.grad is not None:
                mean = group.total(logits.grad.to(group.device)) / group.size
                with torch.no_grad():
                    logits.sub_(mean.to(logits.device), alpha=self._rate)
                logits.grad = None

    def log_probabilities(self) -> dict[tuple[str, Precision], float]:
        """Of each choice of each decision."""
        logits = iter(self.logits)
        found: dict[tuple[str, Precision], float] = {}
        for decision in self._decisions:
            shares = torch.zeros(1, dtype=torch.float64)
            for _ in decision.heads:
                each = next(logits).detach().log_softmax(0)
                shares = (shares[:, None] + each).flatten()
            found |= {(decision.name, choice): float(value) for choice, value in zip(decision.choices, shares)}
        return found

    def told(self) -> dict[str, dict[str, float]]:
        """Of each choice, in text, of each decision."""
        found: dict[str, dict[str, float]] = {decision.name: {} for decision in self._decisions}
        for (name, choice), value in self.log_probabilities().items():
            found[name][str(choice)] = math.exp(value)
        return found

    def state(self) -> dict[str, torch.Tensor]:
        """All that the policy is, as tensors."""
        logits = torch.cat(self.logits).detach()
        return {"logits": logits, "square": self._square, "gram": self._gram, "moment": self._moment}

    def resume(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put back what `state` gave. ValueError for the state of another policy."""
        own = self.state()
        if own.keys() != state.keys() or any(state[name].shape != each.shape for name, each in own.items()):
            raise ValueError("it is of other decisions")
        for name, kept in (("square", self._square), ("gram", self._gram), ("moment", self._moment)):
            kept.copy_(state[name])
        with torch.no_grad():
            for logits, each in zip(self.logits, state["logits"].split(self._sizes)):
                logits.copy_(each)

    def _chosen(self, places: Sequence[int]) -> dict[str, Precision]:
        rest = iter(places)
        chosen = {}
        for decision in self._decisions:
            place = 0
            for size in decision.heads:
                place = place * size + next(rest)
            chosen[decision.name] = decision.choices[place]
        return chosen

    def _places(self, chosen: Chosen) -> list[int]:
        places: list[int] = []
        for decision in self._decisions:
            place, heads = decision.choices.index(chosen[decision.name]), []
            for size in reversed(decision.heads):
                heads.append(place % size)
                place //= size
            places += reversed(heads)
        return places
