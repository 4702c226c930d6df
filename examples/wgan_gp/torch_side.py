"""A Wasserstein GAN with gradient penalty in Torch: a loop of its own, so a class of its own."""

import torch
from torch import nn

PENALTY = 10.0


class Generator(nn.Module):
    """Noise ``[N, 6]`` to images ``[N, 1, 8, 8]``."""

    def __init__(self, width=8):
        super().__init__()
        self.start = nn.Linear(6, 2 * width * 4)
        self.grow = nn.Sequential(
            *[nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.ReLU()],
            *[nn.ConvTranspose2d(width, 1, 4, 2, 1), nn.Tanh()],
        )

    def forward(self, noise):
        return self.grow(self.start(noise).reshape(len(noise), -1, 2, 2))


class Critic(nn.Module):
    """Images ``[N, 1, 8, 8]`` to scores ``[N, 1]``."""

    def __init__(self, width=8):
        super().__init__()
        self.look = nn.Sequential(
            *[nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2)],
            *[nn.Conv2d(width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2)],
        )
        self.score = nn.Linear(2 * width * 4, 1)

    def forward(self, image):
        return self.score(self.look(image).flatten(1))


def adam(network):
    """Return what steps one of the two."""
    return torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.0, 0.9))


class WganGp:
    """In every iteration, a step of the critic and one of the generator."""

    def __init__(self, options):
        self.critic, self.generator = Critic(), Generator()
        self.networks = {"critic": self.critic, "generator": self.generator}
        self.optimizers = {"critic": adam(self.critic), "generator": adam(self.generator)}

    def training_step(self, iteration, batch, observer):
        critic, fake = self.critic, self.generator(batch["noise"])
        penalty = self.penalty(batch["real"], fake.detach(), batch["share"])
        loss = critic(fake.detach()).mean() - critic(batch["real"]).mean() + PENALTY * penalty
        observer.loss("penalty", penalty)
        self.step("critic", loss, observer)
        self.step("generator", -critic(fake).mean(), observer)

    def penalty(self, real, fake, share):
        """Return how far the critic's slope between real and made images is from 1."""
        between = (share * real + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        return ((slope.square().sum((1, 2, 3)).sqrt() - 1) ** 2).mean()

    def step(self, name, loss, observer):
        """Train one network."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        observer.loss(name, loss)
        loss.backward()
        observer.gradients()
        self.optimizers[name].step()


def side(options):
    """Return the loop."""
    return WganGp(options)
