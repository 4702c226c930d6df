"""A U-Net of two levels in Torch."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


def block(source, target):
    """Two convolutions, each normalised."""
    return nn.Sequential(
        *[nn.Conv2d(source, target, 3, padding=1, bias=False), nn.BatchNorm2d(target), nn.ReLU()],
        *[nn.Conv2d(target, target, 3, padding=1, bias=False), nn.BatchNorm2d(target), nn.ReLU()],
    )


class UNet(nn.Module):
    """Images ``[N, 3, H, W]`` to logits ``[N, 1, H, W]``."""

    def __init__(self, width=8):
        super().__init__()
        self.down1 = block(3, width)
        self.down2 = block(width, 2 * width)
        self.bottom = block(2 * width, 2 * width)
        self.up2 = block(4 * width, width)
        self.up1 = block(2 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, image):
        first = self.down1(image)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.bottom(F.max_pool2d(second, 2))
        x = self.up2(torch.cat([self.wider(x), second], 1))
        x = self.up1(torch.cat([self.wider(x), first], 1))
        return self.head(x)

    def wider(self, x):
        """Double height and width."""
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def model(options):
    """Build the network."""
    return UNet().train()


def loss(model, batch):
    """Return the cross entropy of every pixel."""
    logits = model(batch["image"])
    return F.binary_cross_entropy_with_logits(logits, batch["mask"].to(logits.dtype))


def optimizer(model, options):
    """Return what steps."""
    return torch.optim.Adam(model.parameters(), lr=1e-3)
