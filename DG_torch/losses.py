"""The DiscoGAN losses, in Torch.

Mean squared error for reconstruction, binary cross entropy on the discriminator's probabilities,
and a hinge embedding of the squared difference of batch-mean features. ``DG_paddle/losses.py`` is
this file in Paddle, line by line.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["adversarial_losses", "feature_matching_loss", "reconstruction_loss"]

_mse = nn.MSELoss()
_bce = nn.BCELoss()
_hinge = nn.HingeEmbeddingLoss()


def reconstruction_loss(output: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Mean squared error of a reconstruction: two ``[N, 3, 64, 64]`` to a scalar."""
    return _mse(output, image)


def feature_matching_loss(real: Sequence[torch.Tensor], fake: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum over the features of how far their batch means lie apart: ``[N, C, H, W]`` each."""
    terms = []
    for real_feature, fake_feature in zip(real, fake, strict=True):
        difference = real_feature.mean(0) - fake_feature.mean(0)
        squared = difference * difference
        terms.append(_hinge(squared, torch.ones(squared.shape)))
    return sum(terms[1:], start=terms[0])


def adversarial_losses(real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the discriminator's loss and the generator's, from probabilities ``[N, 1, 1, 1]``."""
    real, fake = real.reshape([-1, 1]), fake.reshape([-1, 1])
    ones, zeros = torch.ones(fake.shape), torch.zeros(fake.shape)
    return _bce(real, ones) * 0.5 + _bce(fake, zeros) * 0.5, _bce(fake, ones)
