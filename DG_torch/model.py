"""The DiscoGAN networks, in Torch.

Names and layers are those of the public Torch DiscoGAN (Kim et al., "Learning to Discover
Cross-Domain Relations with Generative Adversarial Networks", ICML 2017), so that its checkpoints
load as they are. ``DG_paddle/model.py`` is this file in Paddle, line by line.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["Discriminator", "Generator"]


def _down(source: int, target: int) -> nn.Module:
    return nn.Conv2d(source, target, 4, 2, 1, bias=False)


def _up(source: int, target: int) -> nn.Module:
    return nn.ConvTranspose2d(source, target, 4, 2, 1, bias=False)


def _bottleneck(source: int) -> list[nn.Module]:
    return [
        nn.Conv2d(source, 100, 4, 1, 0, bias=False),
        nn.BatchNorm2d(100),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(100, source, 4, 1, 0, bias=False),
        nn.BatchNorm2d(source),
        nn.ReLU(),
    ]


class Generator(nn.Module):
    """Translate an image to the other domain: ``[N, 3, 64, 64]`` to ``[N, 3, 64, 64]`` in (0, 1).

    ``width`` scales every hidden layer (64 in the paper); ``extra_layers`` adds the 100-channel
    bottleneck.
    """

    def __init__(self, width: int = 64, extra_layers: bool = False) -> None:
        super().__init__()
        w = width
        self.main = nn.Sequential(
            *[_down(3, w), nn.LeakyReLU(0.2)],
            *[_down(w, w * 2), nn.BatchNorm2d(w * 2), nn.LeakyReLU(0.2)],
            *[_down(w * 2, w * 4), nn.BatchNorm2d(w * 4), nn.LeakyReLU(0.2)],
            *[_down(w * 4, w * 8), nn.BatchNorm2d(w * 8), nn.LeakyReLU(0.2)],
            *(_bottleneck(w * 8) if extra_layers else []),
            *[_up(w * 8, w * 4), nn.BatchNorm2d(w * 4), nn.ReLU()],
            *[_up(w * 4, w * 2), nn.BatchNorm2d(w * 2), nn.ReLU()],
            *[_up(w * 2, w), nn.BatchNorm2d(w), nn.ReLU()],
            *[_up(w, 3), nn.Sigmoid()],
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.main(image)


class Discriminator(nn.Module):
    """Judge an image: ``[N, 3, 64, 64]`` to the probability ``[N, 1, 1, 1]`` that it is real.

    Also returns the features after ``relu2``, ``relu3`` and ``relu4``, which the feature-matching
    loss compares.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        w = width
        self.conv1 = _down(3, w)
        self.relu1 = nn.LeakyReLU(0.2)
        self.conv2 = _down(w, w * 2)
        self.bn2 = nn.BatchNorm2d(w * 2)
        self.relu2 = nn.LeakyReLU(0.2)
        self.conv3 = _down(w * 2, w * 4)
        self.bn3 = nn.BatchNorm2d(w * 4)
        self.relu3 = nn.LeakyReLU(0.2)
        self.conv4 = _down(w * 4, w * 8)
        self.bn4 = nn.BatchNorm2d(w * 8)
        self.relu4 = nn.LeakyReLU(0.2)
        self.conv5 = nn.Conv2d(w * 8, 1, 4, 1, 0, bias=False)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        relu1 = self.relu1(self.conv1(image))
        relu2 = self.relu2(self.bn2(self.conv2(relu1)))
        relu3 = self.relu3(self.bn3(self.conv3(relu2)))
        relu4 = self.relu4(self.bn4(self.conv4(relu3)))
        return torch.sigmoid(self.conv5(relu4)), [relu2, relu3, relu4]
