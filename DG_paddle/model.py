"""The DiscoGAN networks, in Paddle.

Names and layers are those of the public Torch DiscoGAN (Kim et al., "Learning to Discover
Cross-Domain Relations with Generative Adversarial Networks", ICML 2017), so that its checkpoints
load as they are. ``DG_torch/model.py`` is this file in Torch, line by line.
"""

from __future__ import annotations

import paddle
from paddle import nn

__all__ = ["Discriminator", "Generator"]


def _down(source: int, target: int) -> nn.Layer:
    return nn.Conv2D(source, target, 4, 2, 1, bias_attr=False)


def _up(source: int, target: int) -> nn.Layer:
    return nn.Conv2DTranspose(source, target, 4, 2, 1, bias_attr=False)


def _bottleneck(source: int) -> list[nn.Layer]:
    return [
        nn.Conv2D(source, 100, 4, 1, 0, bias_attr=False),
        nn.BatchNorm2D(100),
        nn.LeakyReLU(0.2),
        nn.Conv2DTranspose(100, source, 4, 1, 0, bias_attr=False),
        nn.BatchNorm2D(source),
        nn.ReLU(),
    ]


class Generator(nn.Layer):
    """Translate an image to the other domain: ``[N, 3, 64, 64]`` to ``[N, 3, 64, 64]`` in (0, 1).

    ``width`` scales every hidden layer (64 in the paper); ``extra_layers`` adds the 100-channel
    bottleneck.
    """

    def __init__(self, width: int = 64, extra_layers: bool = False) -> None:
        super().__init__()
        w = width
        self.main = nn.Sequential(
            *[_down(3, w), nn.LeakyReLU(0.2)],
            *[_down(w, w * 2), nn.BatchNorm2D(w * 2), nn.LeakyReLU(0.2)],
            *[_down(w * 2, w * 4), nn.BatchNorm2D(w * 4), nn.LeakyReLU(0.2)],
            *[_down(w * 4, w * 8), nn.BatchNorm2D(w * 8), nn.LeakyReLU(0.2)],
            *(_bottleneck(w * 8) if extra_layers else []),
            *[_up(w * 8, w * 4), nn.BatchNorm2D(w * 4), nn.ReLU()],
            *[_up(w * 4, w * 2), nn.BatchNorm2D(w * 2), nn.ReLU()],
            *[_up(w * 2, w), nn.BatchNorm2D(w), nn.ReLU()],
            *[_up(w, 3), nn.Sigmoid()],
        )

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.main(image)


class Discriminator(nn.Layer):
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
        self.bn2 = nn.BatchNorm2D(w * 2)
        self.relu2 = nn.LeakyReLU(0.2)
        self.conv3 = _down(w * 2, w * 4)
        self.bn3 = nn.BatchNorm2D(w * 4)
        self.relu3 = nn.LeakyReLU(0.2)
        self.conv4 = _down(w * 4, w * 8)
        self.bn4 = nn.BatchNorm2D(w * 8)
        self.relu4 = nn.LeakyReLU(0.2)
        self.conv5 = nn.Conv2D(w * 8, 1, 4, 1, 0, bias_attr=False)

    def forward(self, image: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        relu1 = self.relu1(self.conv1(image))
        relu2 = self.relu2(self.bn2(self.conv2(relu1)))
        relu3 = self.relu3(self.bn3(self.conv3(relu2)))
        relu4 = self.relu4(self.bn4(self.conv4(relu3)))
        return paddle.nn.functional.sigmoid(self.conv5(relu4)), [relu2, relu3, relu4]
