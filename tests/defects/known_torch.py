"""Small right ports that differ only in what the frameworks do differently, in Torch.

``known_paddle.py`` is this file in Paddle, line by line.
"""

import torch
from torch import nn
from torch.nn import functional


class Known(nn.Module):
    def __init__(self, size, outputs):
        super().__init__()
        self.fc = nn.Linear(size, size)
        self.act = nn.LeakyReLU(0.2)
        self.head = nn.Linear(size, outputs)

    def forward(self, x):
        return self.head(self.act(self.fc(x)))


class MaxKnown(Known):
    def forward(self, x):
        return self.head(self.act(self.fc(x))).max(1).values


class KnownSide:
    def __init__(self, options):
        self.case = options["case"]
        outputs = 1 if self.case == "bce" else options["size"]
        self.networks = {"net": (MaxKnown if self.case == "ties" else Known)(options["size"], outputs)}
        self.optimizers = {"main": self.optimizer(self.networks["net"].parameters())}

    def optimizer(self, parameters):
        if self.case == "rmsprop":
            return torch.optim.RMSprop(parameters, lr=1e-2, alpha=0.99, eps=1e-8)
        return torch.optim.Adam(parameters, lr=1e-2)

    def loss(self, output, batch):
        if self.case == "bce":
            return functional.binary_cross_entropy_with_logits(output, batch["truth"])
        if self.case == "ignored":
            return functional.cross_entropy(output, batch["label"])
        return functional.mse_loss(output, batch["values"] if self.case == "ties" else batch["target"])

    def training_step(self, iteration, batch, observer):
        loss = self.loss(self.networks["net"](batch["x"]), batch)
        observer.loss("loss", loss)
        loss.backward()
        observer.gradients()
        self.optimizers["main"].step()
        self.optimizers["main"].zero_grad()
