"""AlexNet, SqueezeNet 1.1, DenseNet-121, MobileNetV3 (small) and ShuffleNetV2 in Torch, with Torch's names.

Their names are those of torchvision's checkpoints. ``paddle.vision.models`` has the same networks under other
names, otherwise nested; `dgtool align` finds which layer is which. Images are ``[N, 3, H, W]``, outputs
logits ``[N, classes]``.
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["AlexNet", "DenseNet121", "MobileNetV3Small", "ShuffleNetV2", "SqueezeNet"]


class AlexNet(nn.Module):
    """Five convolutions and three Linears; images are pooled to 6x6 between them."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for source, target, kernel, stride, padding, pooled in (
            (3, 64, 11, 4, 2, True),
            (64, 192, 5, 1, 2, True),
            (192, 384, 3, 1, 1, False),
            (384, 256, 3, 1, 1, False),
            (256, 256, 3, 1, 1, True),
        ):
            layers += [nn.Conv2d(source, target, kernel, stride, padding), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(3, 2)] if pooled else []
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *[nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True)],
            *[nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True)],
            nn.Linear(4096, classes),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(image)), 1))


class Fire(nn.Module):
    """Fewer channels, then two convolutions side by side."""

    def __init__(self, source: int, squeezed: int, target: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(source, squeezed, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeezed, target, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeezed, target, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        left, right = self.expand1x1(x), self.expand3x3(x)
        return torch.cat([self.expand1x1_activation(left), self.expand3x3_activation(right)], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 as Paddle has it: torchvision's pads nothing at first, and pools what is left over."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        pool = partial(nn.MaxPool2d, 3, 2)
        self.features = nn.Sequential(
            *[nn.Conv2d(3, 64, 3, 2, 1), nn.ReLU(inplace=True), pool()],
            *[Fire(64, 16, 64), Fire(128, 16, 64), pool()],
            *[Fire(128, 32, 128), Fire(256, 32, 128), pool()],
            *[Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)],
        )
        self.classifier = nn.Sequential(
            *[nn.Dropout(), nn.Conv2d(512, classes, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)]
        )

    def forward(self, image: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(image)), 1)


class DenseLayer(nn.Module):
    """32 more channels, made of all that came before in the block."""

    def __init__(self, source: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(source)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(source, 128, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(128)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.relu1(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu2(self.norm2(y)))], 1)


class DenseNet121(nn.Module):
    """Blocks of 6, 12, 24 and 16 layers."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, 64, 7, 2, 3, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(64))
        self.features.add_module("relu0", nn.ReLU(inplace=True))
        self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        channels = 64
        for block, count in enumerate((6, 12, 24, 16), 1):
            layers = nn.Sequential()
            for number in range(1, count + 1):
                layers.add_module(f"denselayer{number}", DenseLayer(channels))
                channels += 32
            self.features.add_module(f"denseblock{block}", layers)
            if block < 4:
                transition = nn.Sequential()
                transition.add_module("norm", nn.BatchNorm2d(channels))
                transition.add_module("relu", nn.ReLU(inplace=True))
                transition.add_module("conv", nn.Conv2d(channels, channels // 2, 1, bias=False))
                transition.add_module("pool", nn.AvgPool2d(2, 2))
                self.features.add_module(f"transition{block}", transition)
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = functional.relu(self.features(image), inplace=True)
        return self.classifier(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def _convolution(
    source: int,
    target: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = None,
    eps: float = 1e-3,
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(source, target, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(target, eps=eps, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class SqueezeExcitation(nn.Module):
    """Weigh the channels by what is in them all."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU()
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))


def _divisible(channels: float) -> int:
    """Round to a multiple of eight, and not down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class InvertedResidual(nn.Module):
    """Widen, filter every channel, weigh, narrow; with a way around where the shapes allow it."""

    def __init__(
        self, source: int, kernel: int, hidden: int, target: int, squeezed: bool, hard: bool, stride: int
    ) -> None:
        super().__init__()
        self.around = stride == 1 and source == target
        activation = nn.Hardswish if hard else nn.ReLU
        layers: list[nn.Module] = []
        if hidden != source:
            layers.append(_convolution(source, hidden, 1, activation=activation))
        layers.append(_convolution(hidden, hidden, kernel, stride, hidden, activation))
        if squeezed:
            layers.append(SqueezeExcitation(hidden, _divisible(hidden // 4)))
        layers.append(_convolution(hidden, target, 1))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.around else self.block(x)


class MobileNetV3Small(nn.Module):
    """MobileNetV3, small."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        rows = (
            (16, 3, 16, 16, True, False, 2),
            (16, 3, 72, 24, False, False, 2),
            (24, 3, 88, 24, False, False, 1),
            (24, 5, 96, 40, True, True, 2),
            (40, 5, 240, 40, True, True, 1),
            (40, 5, 240, 40, True, True, 1),
            (40, 5, 120, 48, True, True, 1),
            (48, 5, 144, 48, True, True, 1),
            (48, 5, 288, 96, True, True, 2),
            (96, 5, 576, 96, True, True, 1),
            (96, 5, 576, 96, True, True, 1),
        )
        first = _convolution(3, 16, 3, 2, activation=nn.Hardswish)
        last = _convolution(96, 576, 1, activation=nn.Hardswish)
        self.features = nn.Sequential(first, *(InvertedResidual(*row) for row in rows), last)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            *[nn.Linear(576, 1024), nn.Hardswish(inplace=True), nn.Dropout(0.2), nn.Linear(1024, classes)]
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(image)), 1))


class ShuffleUnit(nn.Module):
    """Half of the channels pass, or are filtered if the image shrinks; half are worked on; all shuffled."""

    def __init__(self, source: int, target: int, stride: int) -> None:
        super().__init__()
        half = target // 2
        self.stride = stride
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(*self._filtered(source, stride), *self._mixed(source, half))
        first = source if stride > 1 else half
        self.branch2 = nn.Sequential(
            *self._mixed(first, half), *self._filtered(half, stride), *self._mixed(half, half)
        )

    @staticmethod
    def _filtered(channels: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
        return [convolution, nn.BatchNorm2d(channels)]

    @staticmethod
    def _mixed(source: int, target: int) -> list[nn.Module]:
        return [nn.Conv2d(source, target, 1, bias=False), nn.BatchNorm2d(target), nn.ReLU(inplace=True)]

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            both = torch.cat((self.branch1(x), self.branch2(x)), 1)
        else:
            kept, worked = x.chunk(2, 1)
            both = torch.cat((kept, self.branch2(worked)), 1)
        count, channels, height, width = both.shape
        return both.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(both.shape)


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 x1.0."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 24, 3, 2, activation=nn.ReLU, eps=1e-5)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        source = 24
        for stage, target, count in ((2, 116, 4), (3, 232, 8), (4, 464, 4)):
            units = [ShuffleUnit(source, target, 2)]
            units += [ShuffleUnit(target, target, 1) for _ in range(count - 1)]
            self.add_module(f"stage{stage}", nn.Sequential(*units))
            source = target
        self.conv5 = _convolution(source, 1024, 1, activation=nn.ReLU, eps=1e-5)
        self.fc = nn.Linear(1024, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(image)))))
        return self.fc(self.conv5(x).mean([2, 3]))


def main(network: str, file: str) -> None:
    """Save a network with random weights."""
    torch.save(globals()[network]().state_dict(), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
