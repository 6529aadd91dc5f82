"""Methods of search: how precisions are drawn while weights are shared, and which are found."""

from hwlut.search.methods.fixed import Sensitivity, Uniform
from hwlut.search.methods.method import Method, Problem
from hwlut.search.methods.oneshot import OneShot
from hwlut.search.methods.population import Evolution, Random
from hwlut.search.methods.relaxation import Relaxation

__all__ = ["METHODS", "Method", "Problem"]

METHODS: dict[str, type[Method]] = {
    "oneshot": OneShot,
    "gradient": Relaxation,
    "evolution": Evolution,
    "random": Random,
    "sensitivity": Sensitivity,
    "uniform": Uniform,
}
