"""CREPE in Paddle, with the names of torchcrepe's ``Crepe``: the pitch of a sound."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812

from converter import load_into

__all__ = ["FRAME", "PITCHES", "RATE", "Crepe", "full", "normalised", "tiny"]

RATE = 16000
"""Samples in a second."""
FRAME = 1024
"""Samples in a frame."""
PITCHES = 31.7 * 2 ** (np.arange(360) / 60)
"""The frequency in Hz that each output stands for: 20 cents apart."""


class Crepe(nn.Layer):
    """Frames ``[N, 1024]`` of sound at 16 kHz, `normalised`, to the likelihood ``[N, 360]`` of each pitch.

    ``width`` scales the hidden layers: 4 is the published tiny network, 32 the full one.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [1, *(width * times for times in (32, 4, 4, 4, 8, 16))]
        for i, (source, target) in enumerate(pairwise(channels), 1):
            kernel, stride, (top, bottom) = (64, 1, (31, 32)) if i > 1 else (512, 4, (254, 254))
            convolution = nn.Conv2D(source, target, (kernel, 1), (stride, 1), [top, bottom, 0, 0])
            self.add_sublayer(f"conv{i}", convolution)
            # Torch's momentum of 0 is Paddle's of 1: training leaves the statistics alone.
            self.add_sublayer(f"conv{i}_BN", nn.BatchNorm2D(target, momentum=1.0, epsilon=1e-3))
        self.classifier = nn.Linear(4 * channels[-1], 360)

    def forward(self, frames: Tensor) -> Tensor:
        x = frames[:, None, :, None]
        for i in range(1, 7):
            convolution, norm = getattr(self, f"conv{i}"), getattr(self, f"conv{i}_BN")
            x = F.max_pool2d(norm(F.relu(convolution(x))), (2, 1), (2, 1))
        return F.sigmoid(self.classifier(x.transpose([0, 2, 1, 3]).flatten(1)))


def normalised(frames: np.ndarray) -> np.ndarray:
    """Shift and scale every frame to mean 0 and standard deviation 1: what the network expects."""
    frames = frames - frames.mean(-1, keepdims=True)
    return frames / np.maximum(frames.std(-1, keepdims=True), 1e-10)


def tiny() -> Crepe:
    """Build the tiny network, without its weights."""
    return Crepe(4)


def full() -> Crepe:
    """Build the full network, without its weights."""
    return Crepe(32)


def main(capacity: str, weights: str, hertz: str) -> None:
    """Print the pitch that the tiny or the full network hears in a tone."""
    model = {"tiny": tiny, "full": full}[capacity]()
    load_into(model, Path(weights))
    model.eval()
    tone = np.sin(2 * np.pi * float(hertz) * np.arange(FRAME) / RATE)
    likelihood = model(paddle.to_tensor(normalised(tone[None]).astype("float32")))[0]
    print(f"{PITCHES[int(likelihood.argmax())]:.1f} Hz, likelihood {float(likelihood.max()):.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
