"""Models by name, for images, tokens and series."""

from hwlut.train.models.inputs import Images, Inputs, Series, Tokens
from hwlut.train.models.named import MODELS, model

__all__ = ["MODELS", "Images", "Inputs", "Series", "Tokens", "model"]
