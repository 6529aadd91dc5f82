"""Hardware of matrix products by look-up: encoders, codes, banks of tables, sums."""

from hwlut.hdl.lut_matmul.component import LutMatmulComponent
from hwlut.hdl.lut_matmul.load import load_words

__all__ = ["LutMatmulComponent", "load_words"]
