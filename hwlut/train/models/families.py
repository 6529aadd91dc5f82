"""Families of models in transformers: their published sizes, and what of a config follows from the inputs."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from hwlut.train.models.inputs import Images, Inputs, Tokens

__all__ = ["ALIASES", "PUBLISHED", "Family", "Published", "small"]

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SMALL = 16
_SIDES = range(16, 1, -1)
_PATCHES = 7


@dataclasses.dataclass(frozen=True)
class Family:
    """Classifiers of transformers, ``{name}Config`` and ``{name}For...Classification``.

    inputs: what they are given. fit: the part of a config that the inputs decide. general: that of the whole family.
    positions: how many tokens a config allows beside the padding. types: whether the model knows ``token_type_ids``.
    mean, std: of the channels red, green and blue, 0 to 1, that the published weights were trained with.
    """

    name: str
    inputs: type[Images] | type[Tokens]
    fit: Callable[[Any, dict[str, Any]], dict[str, Any]]
    general: dict[str, Any] = dataclasses.field(default_factory=dict)
    positions: Callable[[Any], int] | None = None
    types: bool = False
    mean: tuple[float, float, float] = _IMAGENET[0]
    std: tuple[float, float, float] = _IMAGENET[1]


@dataclasses.dataclass(frozen=True)
class Published:
    """One size of a family. side: of the images that it was trained with."""

    family: Family
    config: dict[str, Any]
    side: int = 224


def _tokens(inputs: Tokens, _: dict[str, Any]) -> dict[str, Any]:
    return {"vocab_size": inputs.vocabulary, "pad_token_id": inputs.padding}


def _channels(inputs: Images, _: dict[str, Any]) -> dict[str, Any]:
    return {"num_channels": inputs.channels}


def _square(inputs: Images, config: dict[str, Any]) -> dict[str, Any]:
    return _channels(inputs, config) | {"image_size": inputs.height}


def _patches(inputs: Images, _: dict[str, Any]) -> dict[str, Any]:
    """The largest patches, up to 16 x 16, that divide the image into 7 x 7 and more; else 2 x 2, of odd sides 1 x 1.

    A patch of one grey pixel is little: normalized, all its values of one sign are the same.
    """
    sides = inputs.height, inputs.width
    fits = (side for side in _SIDES if all(each % side == 0 and each // side >= _PATCHES for each in sides))
    return {
        "num_channels": inputs.channels,
        "image_size": list(sides),
        "patch_size": next(fits, 1 if any(each % 2 for each in sides) else 2),
    }


def _efficientnet(inputs: Images, config: dict[str, Any]) -> dict[str, Any]:
    """Keras pads a strided convolution by whether the map that it is given has an even side; a config lists the odd."""
    side = (inputs.height - 2) // (1 if small(inputs) else 2) + 1
    odd, block = [], 0
    for repeats, stride in zip(config["num_block_repeats"], config["strides"]):
        if stride == 2 and side % 2:
            odd.append(block)
        side = -(-side // stride)
        block += math.ceil(config["depth_coefficient"] * repeats)
    return _square(inputs, config) | {"depthwise_padding": odd}


def small(inputs: Inputs) -> bool:
    """Whether images are so small, up to 16 pixels, that halving them in the stem leaves the last layers no map."""
    return isinstance(inputs, Images) and min(inputs.height, inputs.width) <= _SMALL


_EAGER = {"attn_implementation": "eager"}
_TEXT = _EAGER | {"use_cache": False, "bos_token_id": None, "eos_token_id": None}
_BERT = Family("Bert", Tokens, _tokens, _TEXT, lambda config: config.max_position_embeddings, types=True)
_ROBERTA = Family(
    "Roberta",
    Tokens,
    _tokens,
    _TEXT | {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
    lambda config: config.max_position_embeddings - config.pad_token_id - 1,
)
_GPT2 = Family("GPT2", Tokens, _tokens, _TEXT, lambda config: config.n_positions)
_RESNET = Family("ResNet", Images, _channels)
_EFFICIENTNET = Family(
    "EfficientNet",
    Images,
    _efficientnet,
    {"num_block_repeats": [1, 2, 2, 3, 3, 4, 1], "strides": [1, 2, 2, 2, 1, 2, 1]},
    std=(0.47853944, 0.4732864, 0.47434163),
)
_MOBILENET = Family(
    "MobileNetV2",
    Images,
    _square,
    {"classifier_dropout_prob": 0.2},  # the published 0.8 is what is kept
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
_DEIT = Family("DeiT", Images, _patches, _EAGER)


def _bert(layers: int, width: int) -> Published:
    heads = {"num_attention_heads": width // 64, "intermediate_size": 4 * width}
    return Published(_BERT, {"num_hidden_layers": layers, "hidden_size": width, **heads})


def _gpt2(layers: int, width: int, heads: int) -> Published:
    return Published(_GPT2, {"n_layer": layers, "n_embd": width, "n_head": heads})


def _resnet(kind: str, depths: list[int], widths: list[int]) -> Published:
    return Published(_RESNET, {"layer_type": kind, "depths": depths, "hidden_sizes": widths})


def _scaled(width: float, depth: float, side: int, dropout: float, top: int) -> Published:
    scale = {"width_coefficient": width, "depth_coefficient": depth, "dropout_rate": dropout, "hidden_dim": top}
    return Published(_EFFICIENTNET, scale, side)


def _deit(width: int) -> Published:
    heads = {"num_attention_heads": width // 64, "intermediate_size": 4 * width}
    return Published(_DEIT, {"num_hidden_layers": 12, "hidden_size": width, **heads})


ALIASES = {"bert": "bert-base"}

PUBLISHED = {
    # Devlin et al. (arXiv 1810.04805), section 3; the smaller ones Turc et al. (arXiv 1908.08962), table 1.
    "bert-tiny": _bert(2, 128),
    "bert-mini": _bert(4, 256),
    "bert-small": _bert(4, 512),
    "bert-medium": _bert(8, 512),
    "bert-base": _bert(12, 768),
    # Liu et al. (arXiv 1907.11692), section 3: the sizes of BERT's base.
    "roberta": Published(_ROBERTA, _bert(12, 768).config),
    # Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), table 2; heads of 64 as released.
    "gpt2": _gpt2(12, 768, 12),
    "gpt2-medium": _gpt2(24, 1024, 16),
    "gpt2-large": _gpt2(36, 1280, 20),
    # He et al. (arXiv 1512.03385), table 1; the strides of bottlenecks in their 3 x 3 convolutions.
    "resnet18": _resnet("basic", [2, 2, 2, 2], [64, 128, 256, 512]),
    "resnet50": _resnet("bottleneck", [3, 4, 6, 3], [256, 512, 1024, 2048]),
    # Tan and Le (arXiv 1905.11946), table 1 and section 5.2; coefficients of width and depth as released.
    "efficientnet-b0": _scaled(1.0, 1.0, 224, 0.2, 1280),
    "efficientnet-b1": _scaled(1.0, 1.1, 240, 0.2, 1280),
    "efficientnet-b2": _scaled(1.1, 1.2, 260, 0.3, 1408),
    "efficientnet-b3": _scaled(1.2, 1.4, 300, 0.3, 1536),
    "efficientnet-b4": _scaled(1.4, 1.8, 380, 0.4, 1792),
    "efficientnet-b5": _scaled(1.6, 2.2, 456, 0.4, 2048),
    "efficientnet-b6": _scaled(1.8, 2.6, 528, 0.5, 2304),
    "efficientnet-b7": _scaled(2.0, 3.1, 600, 0.5, 2560),
    # Sandler et al. (arXiv 1801.04381), table 2, of width 1.
    "mobilenetv2": Published(_MOBILENET, {}),
    # Touvron et al. (arXiv 2012.12877), table 1, with the distillation token as transformers has it.
    "deit-tiny": _deit(192),
    "deit-small": _deit(384),
    "deit-base": _deit(768),
}
