"""The same U-Net in Paddle."""

import paddle
from paddle import nn
from paddle.nn import functional as F  # noqa: N812


def block(source, target):
    """Two convolutions, each normalised."""
    return nn.Sequential(
        *[nn.Conv2D(source, target, 3, padding=1, bias_attr=False), nn.BatchNorm2D(target), nn.ReLU()],
        *[nn.Conv2D(target, target, 3, padding=1, bias_attr=False), nn.BatchNorm2D(target), nn.ReLU()],
    )


class UNet(nn.Layer):
    """Images ``[N, 3, H, W]`` to logits ``[N, 1, H, W]``."""

    def __init__(self, width=8, align_corners=False):
        super().__init__()
        self.down1 = block(3, width)
        self.down2 = block(width, 2 * width)
        self.bottom = block(2 * width, 2 * width)
        self.up2 = block(4 * width, width)
        self.up1 = block(2 * width, width)
        self.head = nn.Conv2D(width, 1, 1)
        self.align_corners = align_corners

    def forward(self, image):
        first = self.down1(image)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.bottom(F.max_pool2d(second, 2))
        x = self.up2(paddle.concat([self.wider(x), second], 1))
        x = self.up1(paddle.concat([self.wider(x), first], 1))
        return self.head(x)

    def wider(self, x):
        """Double height and width."""
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=self.align_corners)


def model(options):
    """Build the network."""
    network = UNet(align_corners=options["mistake"])
    network.train()
    return network


def loss(model, batch):
    """Return the cross entropy of every pixel."""
    logits = model(batch["image"])
    return F.binary_cross_entropy_with_logits(logits, batch["mask"].astype(logits.dtype))


def optimizer(model, options):
    """Return what steps."""
    return paddle.optimizer.Adam(1e-3, parameters=model.parameters())
