"""A variational autoencoder in Torch."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class VAE(nn.Module):
    """Images ``[N, pixels]`` and noise ``[N, latents]`` to logits, mean and logarithm of the variance."""

    def __init__(self, pixels=64, hidden=32, latents=4):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU())
        self.mean = nn.Linear(hidden, latents)
        self.log_variance = nn.Linear(hidden, latents)
        self.decoder = nn.Sequential(nn.Linear(latents, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def forward(self, image, noise):
        hidden = self.encoder(image)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        sample = mean + noise * torch.exp(0.5 * log_variance)
        return self.decoder(sample), mean, log_variance


def model(options):
    """Build the network."""
    return VAE().train()


def loss(model, batch):
    """Return the two terms, and their sum, which is differentiated: a mean over the images."""
    logits, mean, log_variance = model(batch["image"], batch["noise"])
    pixels = F.binary_cross_entropy_with_logits(logits, batch["image"], reduction="none")
    reconstruction = pixels.sum(1).mean()
    divergence = (-0.5 * (1 + log_variance - mean**2 - log_variance.exp())).sum(1).mean()
    return {"reconstruction": reconstruction, "divergence": divergence, "loss": reconstruction + divergence}


def optimizer(model, options):
    """Return what steps."""
    return torch.optim.Adam(model.parameters(), lr=1e-3)
