"""ResNet-18 in Torch, as one writes it."""

import torch
from torch.nn import functional as F  # noqa: N812

from examples.vision.torch_models import ResNet18


def model(options):
    """Build the network; BatchNorm takes its statistics from the batch."""
    return ResNet18(classes=10).train()


def loss(model, batch):
    """Return the cross entropy of ten classes."""
    return F.cross_entropy(model(batch["image"]), batch["label"])


def optimizer(model, options):
    """Return what the paper trained with, at a smaller rate."""
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
