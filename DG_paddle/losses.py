"""The DiscoGAN losses, in Paddle.

Mean squared error for reconstruction, binary cross entropy on the discriminator's probabilities,
and a hinge embedding of the squared difference of batch-mean features. ``DG_torch/losses.py`` is
this file in Torch, line by line.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

__all__ = ["adversarial_losses", "feature_matching_loss", "reconstruction_loss"]

_mse = nn.MSELoss()
_bce = nn.BCELoss()
_hinge = nn.HingeEmbeddingLoss()


def reconstruction_loss(output: paddle.Tensor, image: paddle.Tensor) -> paddle.Tensor:
    """Mean squared error of a reconstruction: two ``[N, 3, 64, 64]`` to a scalar."""
    return _mse(output, image)


def feature_matching_loss(real: Sequence[paddle.Tensor], fake: Sequence[paddle.Tensor]) -> paddle.Tensor:
    """Sum over the features of how far their batch means lie apart: ``[N, C, H, W]`` each."""
    terms = []
    for real_feature, fake_feature in zip(real, fake, strict=True):
        difference = real_feature.mean(0) - fake_feature.mean(0)
        squared = difference * difference
        terms.append(_hinge(squared, paddle.ones(squared.shape)))
    return sum(terms[1:], start=terms[0])


def adversarial_losses(real: paddle.Tensor, fake: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Return the discriminator's loss and the generator's, from probabilities ``[N, 1, 1, 1]``."""
    real, fake = real.reshape([-1, 1]), fake.reshape([-1, 1])
    ones, zeros = paddle.ones(fake.shape), paddle.zeros(fake.shape)
    return _bce(real, ones) * 0.5 + _bce(fake, zeros) * 0.5, _bce(fake, ones)
