"""A VAE with dropout that draws in its step, in Torch; ``random_paddle.py`` mirrors it, and has the mistakes."""

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.fc = nn.Linear(size, size)
        self.drop1 = nn.Dropout(0.3)
        self.drop2 = nn.Dropout(0.5)
        self.drop3 = nn.Dropout2d(0.4)
        self.mean = nn.Linear(size, size)
        self.spread = nn.Linear(size, size)
        self.head = nn.Linear(size, size)

    def forward(self, x):
        x = self.drop1(torch.tanh(self.fc(x)))
        mean, spread = self.mean(x), self.spread(x)
        z = mean + torch.exp(spread / 2) * torch.randn_like(spread)
        x = self.head(self.drop2(z))
        image = self.drop3(x.reshape(x.shape[0], 3, 1, 2))
        return image.reshape(x.shape), mean, spread


class Side:
    def __init__(self, options):
        self.case = options["case"]
        self.networks = {"net": Net(options["size"])}
        self.optimizers = {"main": torch.optim.Adam(self.networks["net"].parameters(), lr=1e-2)}

    def training_step(self, iteration, batch, observer):
        order = torch.randperm(len(batch["x"]))  # both sides shuffle alike
        x = batch["x"][order] * (1.0 if self.case == "hidden" else np.random.uniform(0.5, 1.5))
        out, mean, spread = self.networks["net"](x)
        loss = ((out - batch["target"]) ** 2).mean()
        kl = (mean**2 + torch.exp(spread) - spread).mean()
        observer.loss("loss", loss)
        observer.loss("kl", kl)
        (loss + kl).backward()
        observer.gradients()
        self.optimizers["main"].step()
        self.optimizers["main"].zero_grad()
