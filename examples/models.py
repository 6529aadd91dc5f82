"""The models of the examples, and how they are trained."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from examples.data import Split
from hwlut import Fixed
from hwlut.quant import Quantizer
from hwlut.train.models.encoder import Block, SeriesTransformer

__all__ = ["LeNet5", "QuantizedLinear", "ResNet", "SeriesTransformer", "VGG7", "VisionTransformer", "accuracy", "train"]


class VisionTransformer(nn.Module):
    """A vision transformer for digits [batch, 1, 28, 28]: 16 patches of 7 x 7, averaged for the ten classes."""

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4):
        super().__init__()
        self.embed = nn.Linear(49, width)
        self.positions = nn.Parameter(torch.randn(16, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = images.unfold(2, 7, 7).unfold(3, 7, 7).reshape(len(images), 16, 49)
        x = self.blocks(self.embed(patches) + self.positions)
        return self.head(self.norm(x).mean(dim=1))


class LeNet5(nn.Sequential):
    """LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), with relu and maxima."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
        )


class Residual(nn.Module):
    """Two normalized convolutions beside the identity, or beside a convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.norm2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        changes = before != after or stride != 1
        self.beside = nn.Conv2d(before, after, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        return (y + self.beside(x)).relu()


class ResNet(nn.Sequential):
    """A residual network for digits [batch, 1, height, width]: blocks of two convolutions, more channels a stage.

    He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), section 4.2, in small. depths: blocks a
    stage; the first stage has `width` channels, each other twice as many as the one before. stride: of the first
    convolution.
    """

    def __init__(self, width: int = 8, depths: Sequence[int] = (1, 1, 1), stride: int = 2):
        blocks, before = [], width
        for stage, depth in enumerate(depths):
            after = width << stage
            for place in range(depth):
                blocks.append(Residual(before, after, 2 if stage and not place else 1))
                before = after
        super().__init__(
            *(nn.Conv2d(1, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *blocks,
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)),
        )


class VGG7(nn.Sequential):
    """Six convolutions, two a stage, and two linear layers for digits [batch, 1, 28, 28].

    Simonyan and Zisserman, "Very Deep Convolutional Networks" (ICLR 2015), as small as ternary networks have it, with
    batch normalization; `width` is 128 there.
    """

    def __init__(self, width: int = 16):
        layers: list[nn.Module] = []
        before = 1
        for after in (width, 2 * width, 4 * width):
            for channels in (before, after):
                layers += [nn.Conv2d(channels, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
            before = after
        linear = nn.Linear(9 * before, 8 * width), nn.ReLU(), nn.Linear(8 * width, 10)
        super().__init__(*layers, nn.Flatten(), *linear)


class QuantizedLinear(nn.Module):
    """A linear layer whose weights and inputs are quantized to `bits`, each with one power-of-two scale."""

    def __init__(self, linear: nn.Linear, bits: int = 8):
        super().__init__()
        self.quantizer = Quantizer(Fixed(bits))
        self.linear = linear
        weight = Quantizer(Fixed(bits))
        weight.observe(linear.weight)
        parametrize.register_parametrization(linear, "weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.quantizer(x))


def _shifted(images: Tensor) -> Tensor:
    """Images moved by up to two pixels, each batch as a whole."""
    across, down = torch.randint(-2, 3, (2,)).tolist()
    return images.roll((down, across), (2, 3))


def train(model: nn.Module, data: Split, epochs: int, rate: float) -> None:
    """Adam over shuffled batches of 100, the learning rate falling to zero along a cosine."""
    images, labels = data
    steps = epochs * (len(images) // 100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(epochs):
        for places in torch.randperm(len(images)).split(100):
            loss = nn.functional.cross_entropy(model(_shifted(images[places])), labels[places])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, data: Split) -> float:
    """Percentage of the images that are classified right."""
    images, labels = data
    model.eval()
    return 100 * float((model(images).argmax(1) == labels).float().mean())
