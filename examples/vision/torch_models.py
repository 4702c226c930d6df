"""ResNet-18, VGG-11 and MobileNetV2 in Torch, with the names of ``paddle.vision.models``.

torchvision has the same names, so checkpoints of either convert without rules.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

__all__ = ["VGG11", "MobileNetV2", "ResNet18"]


def _convolution(
    source: int, target: int, kernel: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    padding = kernel // 2
    return (
        nn.Conv2d(source, target, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(target),
    )


class BasicBlock(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, source: int, target: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(source, target, 3, stride)
        self.conv2, self.bn2 = _convolution(target, target, 3)
        if stride > 1:
            self.downsample = nn.Sequential(*_convolution(source, target, 1, stride))
        else:
            self.downsample = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet18(nn.Module):
    """Images ``[N, 3, H, W]`` to logits ``[N, classes]``."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(3, 64, 7, 2)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        source = 64
        for i, target in enumerate((64, 128, 256, 512), 1):
            stride = target // source
            blocks = nn.Sequential(BasicBlock(source, target, stride), BasicBlock(target, target, 1))
            self.add_module(f"layer{i}", blocks)
            source = target
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(source, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(image))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class VGG11(nn.Module):
    """Images ``[N, 3, H, W]`` to logits ``[N, classes]``; ``width`` is the classifier's."""

    def __init__(self, classes: int = 1000, width: int = 4096) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        source = 3
        for group in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
            for target in group:
                layers += [nn.Conv2d(source, target, 3, padding=1), nn.ReLU()]
                source = target
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            *[nn.Linear(source * 7 * 7, width), nn.ReLU(), nn.Dropout()],
            *[nn.Linear(width, width), nn.ReLU(), nn.Dropout()],
            nn.Linear(width, classes),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(image)).flatten(1))


def _activated(source: int, target: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(*_convolution(source, target, kernel, stride, groups), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Widen by ``times``, filter every channel, narrow; with a way around where the shapes allow it."""

    def __init__(self, source: int, target: int, stride: int, times: int) -> None:
        super().__init__()
        hidden = source * times
        self.conv = nn.Sequential(
            *([_activated(source, hidden, 1)] if times > 1 else []),
            _activated(hidden, hidden, 3, stride, groups=hidden),
            *_convolution(hidden, target, 1),
        )
        self.around = stride == 1 and source == target

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.around else self.conv(x)


class MobileNetV2(nn.Module):
    """Images ``[N, 3, H, W]`` to logits ``[N, classes]``."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [_activated(3, 32, 3, 2)]
        source = 32
        for times, target, strides in (
            (1, 16, (1,)),
            (6, 24, (2, 1)),
            (6, 32, (2, 1, 1)),
            (6, 64, (2, 1, 1, 1)),
            (6, 96, (1, 1, 1)),
            (6, 160, (2, 1, 1)),
            (6, 320, (1,)),
        ):
            for stride in strides:
                layers.append(InvertedResidual(source, target, stride, times))
                source = target
        self.features = nn.Sequential(*layers, _activated(source, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image).mean((2, 3)))


def main(network: str, file: str) -> None:
    """Save a network with random weights."""
    networks: dict[str, type[nn.Module]] = {"ResNet18": ResNet18, "VGG11": VGG11, "MobileNetV2": MobileNetV2}
    torch.save(networks[network]().state_dict(), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
