"""LutMatmul units for tests."""

import numpy as np

from hwlut import Fixed, LutMatmul, Requantize


def random_unit(
    seed, *, encoder, k, v, features, outputs, table_bits=8, ties=False, bias=True, requantize=False, extreme=False
):
    """A unit of random integers.

    ties: few different prototypes and inputs near them, so that equal distances are common. extreme: table entries at
    the ends of their range. requantize: False, True (one channel) or "channels" (one an output).
    """
    rng = np.random.default_rng(seed)
    codebooks = -(-features // v)
    zero = int(rng.integers(-128, 128))
    high = 1 << (table_bits - 1)
    table = rng.integers(-high, high, (codebooks, k, outputs))
    if extreme:
        table = np.where(rng.integers(0, 2, table.shape), high - 1, -high)
    fields = {"zero_point": zero, "table": table, "table_bits": table_bits}
    if encoder == "tree":
        spread = 3 if ties else 128
        fields["thresholds"] = rng.integers(-spread, spread, (codebooks, k - 1))
        fields["dimensions"] = rng.integers(0, v, (codebooks, k.bit_length() - 1))
    else:
        prototypes = rng.integers(-2, 3, (codebooks, k, v)) if ties else rng.integers(-128, 128, (codebooks, k, v))
        prototypes.reshape(codebooks, k, v)[-1, :, v - (codebooks * v - features) :] = zero
        fields["prototypes"] = prototypes
    if bias:
        fields["bias"] = rng.integers(-1000, 1000, outputs)
    if requantize:
        channels = outputs if requantize == "channels" else 1
        fields["requantize"] = Requantize(
            input=Fixed(32),
            multipliers=rng.integers(1 << 29, 1 << 31, channels).tolist(),
            shifts=rng.integers(33, 38, channels).tolist(),
            zero_point=int(rng.integers(-9, 10)),
            output=Fixed(8),
        )
    return LutMatmul(name=f"lut_{encoder}", encoder=encoder, features=features, v=v, **fields)
