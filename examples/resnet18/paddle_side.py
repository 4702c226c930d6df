"""ResNet-18 as Paddle ships it."""

import paddle
from paddle import nn
from paddle.nn import functional as F  # noqa: N812


def model(options):
    """Build the network. Paddle's momentum weighs the old value: its 0.9, the default, is Torch's 0.1."""
    network = paddle.vision.models.resnet18(num_classes=10)
    if options["mistake"]:
        for layer in network.sublayers():
            if isinstance(layer, nn.BatchNorm2D):
                layer._momentum = 0.1
    network.train()
    return network


def loss(model, batch):
    """Return the cross entropy of ten classes."""
    return F.cross_entropy(model(batch["image"]), batch["label"])


def optimizer(model, options):
    """Return what the paper trained with, at a smaller rate."""
    return paddle.optimizer.Momentum(0.01, 0.9, model.parameters(), weight_decay=1e-4)
