"""The same GAN in Paddle."""

import paddle
from paddle import nn

PENALTY = 10.0


class Generator(nn.Layer):
    """Noise ``[N, 6]`` to images ``[N, 1, 8, 8]``."""

    def __init__(self, width=8):
        super().__init__()
        self.start = nn.Linear(6, 2 * width * 4)
        self.grow = nn.Sequential(
            *[nn.Conv2DTranspose(2 * width, width, 4, 2, 1), nn.ReLU()],
            *[nn.Conv2DTranspose(width, 1, 4, 2, 1), nn.Tanh()],
        )

    def forward(self, noise):
        return self.grow(self.start(noise).reshape([len(noise), -1, 2, 2]))


class Critic(nn.Layer):
    """Images ``[N, 1, 8, 8]`` to scores ``[N, 1]``."""

    def __init__(self, width=8):
        super().__init__()
        self.look = nn.Sequential(
            *[nn.Conv2D(1, width, 4, 2, 1), nn.LeakyReLU(0.2)],
            *[nn.Conv2D(width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2)],
        )
        self.score = nn.Linear(2 * width * 4, 1)

    def forward(self, image):
        # Paddle's flatten has no gradient of its gradient; reshape has.
        return self.score(self.look(image).reshape([len(image), -1]))


def adam(network):
    """Return what steps one of the two."""
    return paddle.optimizer.Adam(1e-3, 0.0, 0.9, parameters=network.parameters())


class WganGp:
    """In every iteration, a step of the critic and one of the generator."""

    def __init__(self, options):
        self.critic, self.generator = Critic(), Generator()
        self.networks = {"critic": self.critic, "generator": self.generator}
        self.optimizers = {"critic": adam(self.critic), "generator": adam(self.generator)}
        self.create_graph = not options["mistake"]  # False is Paddle's default

    def training_step(self, iteration, batch, observer):
        critic, fake = self.critic, self.generator(batch["noise"])
        penalty = self.penalty(batch["real"], fake.detach(), batch["share"])
        loss = critic(fake.detach()).mean() - critic(batch["real"]).mean() + PENALTY * penalty
        observer.loss("penalty", penalty)
        self.step("critic", loss, observer)
        self.step("generator", -critic(fake).mean(), observer)

    def penalty(self, real, fake, share):
        """Return how far the critic's slope between real and made images is from 1."""
        between = share * real + (1 - share) * fake
        between.stop_gradient = False
        (slope,) = paddle.grad(self.critic(between).sum(), between, create_graph=self.create_graph)
        return ((slope.square().sum([1, 2, 3]).sqrt() - 1) ** 2).mean()

    def step(self, name, loss, observer):
        """Train one network."""
        for optimizer in self.optimizers.values():
            optimizer.clear_grad()
        observer.loss(name, loss)
        loss.backward()
        observer.gradients()
        self.optimizers[name].step()


def side(options):
    """Return the loop."""
    return WganGp(options)
