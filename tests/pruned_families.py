"""Small models of many families, of transformers and short ones of its own, and what pruning makes of them.

``python -m tests.pruned_families`` writes the table of docs/pruning-families.md anew.
"""

import copy
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from hwlut.files import write_atomic
from hwlut.nn.quantized import quantize, quantized_operations
from hwlut.nn.quantized.layers import layer_kind
from hwlut.prune import difference, groups, mask_, mismatches, shrink
from hwlut.prune.unquantized import unquantized
from hwlut.quant import calibrate
from hwlut.quant.calibration import called
from hwlut.quant.precision import Precision

__all__ = ["FAMILIES", "PAGE", "Pruned", "family", "halved", "lines", "pruned", "quantized"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "pruning-families.md"

BATCH = 2
TEXT = {"vocab_size": 40, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
HEADS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def _hugging_face(kind, head, **options):
    import transformers

    config = getattr(transformers, f"{kind}Config")(**options)
    config._attn_implementation = "eager"
    return getattr(transformers, f"{kind}{head}")(config)


def _images(side=16):
    return torch.randn(BATCH, 3, side, side)


def _tokens():
    return {"input_ids": torch.randint(3, 40, (BATCH, 6))}


class VGG(nn.Module):
    """Simonyan and Zisserman (arXiv 1409.1556): convolutions, pooled, flattened into linear layers."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for width in (8, 12, 16):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(16 * 4, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 5))

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


class DenseLayer(nn.Module):
    def __init__(self, channels, growth):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, 2 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(2 * growth), nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))], 1)


class DenseNet(nn.Module):
    """Huang et al. (arXiv 1608.06993): each layer reads all before it."""

    def __init__(self, growth=6):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.first = nn.Sequential(DenseLayer(8, growth), DenseLayer(8 + growth, growth))
        wide = 8 + 2 * growth
        self.between = nn.Sequential(nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, 10, 1), nn.AvgPool2d(2))
        self.second = nn.Sequential(DenseLayer(10, growth), DenseLayer(10 + growth, growth))
        self.norm, self.head = nn.BatchNorm2d(10 + 2 * growth), nn.Linear(10 + 2 * growth, 5)

    def forward(self, x):
        x = F.relu(self.norm(self.second(self.between(self.first(self.stem(x))))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def _double(inputs, width):
    first, second = nn.Conv2d(inputs, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
    return nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(), second, nn.BatchNorm2d(width), nn.ReLU())


class UNet(nn.Module):
    """Ronneberger et al. (arXiv 1505.04597): down, up by transposed convolutions, and what was there beside it."""

    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.bottom = _double(3, 6), _double(6, 10), _double(10, 14)
        self.up2, self.join2 = nn.ConvTranspose2d(14, 10, 2, 2), _double(20, 10)
        self.up1, self.join1 = nn.ConvTranspose2d(10, 6, 2, 2), _double(12, 6)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.up2(self.bottom(F.max_pool2d(second, 2)))
        x = self.up1(self.join2(torch.cat([second, x], 1)))
        return self.head(self.join1(torch.cat([first, x], 1)))


class PatchAttention(nn.Module):
    """As timm has it: one projection to queries, keys and values, reshaped to the number of heads in an attribute."""

    def __init__(self, width, heads):
        super().__init__()
        self.num_heads, self.head_dim = heads, width // heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        shares = (q * self.head_dim**-0.5 @ k.transpose(-2, -1)).softmax(-1)
        return self.proj((shares @ v).transpose(1, 2).reshape(batch, tokens, self.num_heads * self.head_dim))


class PatchBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(width), PatchAttention(width, heads), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchTransformer(nn.Module):
    """Touvron et al. (arXiv 2012.12877), without distillation, in the manner of timm."""

    def __init__(self, width=32, heads=4):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 17, width))
        self.blocks = nn.Sequential(PatchBlock(width, heads), PatchBlock(width, heads))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.blocks(torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places)
        return self.head(self.norm(x)[:, 0])


def _resnet(kind, widths):
    options = {"embedding_size": 8, "hidden_sizes": widths, "depths": [2, 2], "layer_type": kind}
    return _hugging_face("ResNet", "ForImageClassification", **options), _images(32)


class MobileNet(nn.Module):
    """Sandler et al. (arXiv 1801.04381): the first blocks, since a config of transformers has them all."""

    def __init__(self):
        super().__init__()
        whole = _hugging_face("MobileNetV2", "Model", depth_multiplier=0.25, image_size=32)
        self.stem, self.blocks, self.head = whole.conv_stem, nn.Sequential(*whole.layer[:4]), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def _efficientnet():
    stages = {"in_channels": [32, 32], "out_channels": [32, 64], "strides": [1, 2], "kernel_sizes": [3, 5]}
    stages |= {"num_block_repeats": [1, 2], "expand_ratios": [1, 4], "depthwise_padding": []}
    options = {"width_coefficient": 0.25, "depth_coefficient": 1.0, "hidden_dim": 320, "depth_divisor": 4}
    return _hugging_face("EfficientNet", "ForImageClassification", image_size=32, **stages, **options), _images(32)


def _convnext():
    options = {"hidden_sizes": [8, 16], "depths": [2, 2], "num_stages": 2, "image_size": 32, "patch_size": 4}
    return _hugging_face("ConvNext", "ForImageClassification", **options), _images(32)


def _swin():
    options = {"embed_dim": 16, "depths": [2, 1], "num_heads": [2, 4], "window_size": 2, "patch_size": 4}
    return _hugging_face("Swin", "ForImageClassification", image_size=32, **options), _images(32)


def _llama():
    options = {**HEADS, **TEXT, "num_key_value_heads": 2, "use_cache": False}
    return _hugging_face("Llama", "ForCausalLM", **options), _tokens()


def _gpt2():
    options = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 16, "use_cache": False}
    return _hugging_face("GPT2", "LMHeadModel", **TEXT, **options), _tokens()


def _vision(kind):
    return _hugging_face(kind, "ForImageClassification", **HEADS, image_size=16, patch_size=4), _images()


FAMILIES = {
    "VGG": lambda: (VGG(), _images()),
    "ResNet, basic": lambda: _resnet("basic", [8, 16]),
    "ResNet, bottleneck": lambda: _resnet("bottleneck", [32, 48]),
    "MobileNetV2": lambda: (MobileNet(), _images(32)),
    "EfficientNet": _efficientnet,
    "DenseNet": lambda: (DenseNet(), _images()),
    "U-Net": lambda: (UNet(), _images()),
    "ConvNeXt": _convnext,
    "ViT": lambda: _vision("ViT"),
    "DeiT": lambda: _vision("DeiT"),
    "DeiT, as in timm": lambda: (PatchTransformer(), _images()),
    "Swin": _swin,
    "BERT": lambda: (_hugging_face("Bert", "ForSequenceClassification", **HEADS, **TEXT), _tokens()),
    "GPT-2": _gpt2,
    "Llama": _llama,
}
"""By name, what builds the model and what it is called with."""


def family(name):
    """The model of a family, in evaluation mode, and a sample: the same at every call.

    Statistics of batch normalization and all vectors are drawn, so that no channel is like another.
    """
    torch.manual_seed(0)
    model, sample = FAMILIES[name]()
    with torch.no_grad():
        for key, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.dim() == 1 and tensor.is_floating_point():
                low = -0.3 if key.endswith(("bias", "running_mean")) else 0.5
                tensor.uniform_(low, low + 1 if low > 0 else 0.3)
    return model.eval(), sample


def halved(found):
    """Every second group of each coupling that has two."""
    return {each.name: range(1, each.size, 2) for each in found if each.size > 1}


def quantized(model, sample):
    """A copy whose layers quantize their weights and inputs to 8 bits, calibrated by the sample."""
    model = copy.deepcopy(model)
    layers = [name for name, module in model.named_modules() if layer_kind(module) is not None]
    quantize(model, {name: [Precision.parse("8")] for name in layers})
    calibrate(model, [sample])
    return model


@dataclass(frozen=True)
class Pruned:
    """A family with half of every coupling's groups removed.

    gap: the difference of masked and smaller model. weights: the same with weights of 8 bits. codes: the share of
    activation codes that differ where weights and activations have 8 bits.
    """

    name: str
    operations: int
    couplings: int
    groups: int
    before: int
    after: int
    gap: float
    weights: float
    codes: float

    def line(self):
        """The row of the table."""
        equal, weights = ("yes" if gap <= 1e-10 else "no" for gap in (self.gap, self.weights))
        codes = "below 0.1 %" if self.codes < 1e-3 else f"{self.codes:.1%}"
        numbers = (self.operations, self.couplings, self.groups, self.before, self.after)
        return f"| {self.name} | {' | '.join(f'{each:,}' for each in numbers)} | {equal} | {weights} | {codes} |"


def _parameters(model):
    return sum(each.numel() for each in model.parameters())


def _parameters(model):
    """How many, without steps of quantizers."""
    return sum(each.numel() for name, each in model.named_parameters() if "_choice." not in name)


def _trains(model, sample):
    """A step of training in float32, which reaches parameters."""
    model = copy.deepcopy(model).train()
    results = [each for each in tree_leaves(called("sample", model, sample)) if isinstance(each, torch.Tensor)]
    sum(each.square().mean() for each in results if each.is_floating_point()).backward()
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    assert gradients and all(bool(each.isfinite().all()) for each in gradients)


def pruned(name):
    """What becomes of a family."""
    plain, sample = family(name)
    model = quantized(plain, sample)
    found = groups(model, sample)
    removed = halved(found)
    masked = copy.deepcopy(model)
    mask_(masked, found, removed)
    smaller = shrink(model, found, removed, sample)
    codes = mismatches(masked, smaller, sample, found, removed)
    assert difference(model, masked, sample) > 1e-3
    _trains(smaller, sample)
    for each in (masked, smaller):
        for layer in quantized_operations(each).values():
            if layer.input_choice is not None:
                layer.input_choice.select(None)
    weights = difference(masked, smaller, sample, quantized=True)
    with unquantized(smaller):
        _trains(smaller, sample)
    return Pruned(
        name=name,
        operations=len(found.graph),
        couplings=len(found.couplings),
        groups=len(found),
        before=_parameters(plain),
        after=_parameters(smaller),
        gap=difference(masked, smaller, sample),
        weights=weights,
        codes=codes,
    )


def lines(text):
    """The rows of the table in the page."""
    return [line for line in text.splitlines() if re.match(r"\| (?!family|---)", line)]


def _write():
    text = PAGE.read_text()
    rows = {line.split("|")[1].strip(): line for line in lines(text)}
    head, _, rest = text.partition("|---")
    rule = rest.partition("\n")[0]
    for name in FAMILIES:
        rows[name] = pruned(name).line()
    after = text.rpartition("|\n")[2]
    write_atomic(PAGE, "\n".join([f"{head}|---{rule}", *(rows[name] for name in FAMILIES), after]))


if __name__ == "__main__":
    _write()
