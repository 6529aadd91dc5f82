"""The numbers of a look-up matrix product, learned from activations: prototypes, trees and tables."""

from hwlut.codebooks.clustering import KMeans, kmeans
from hwlut.codebooks.encode import nearest, tree_leaves
from hwlut.codebooks.ridge import refit, refit_batches, ridge_prototypes
from hwlut.codebooks.tree import Trees, trees

__all__ = [
    "KMeans",
    "Trees",
    "kmeans",
    "nearest",
    "refit",
    "refit_batches",
    "ridge_prototypes",
    "tree_leaves",
    "trees",
]
