"""A VAE with dropout that draws in its step, in Paddle, with mistakes to be chosen by ``case``."""

import numpy as np
import paddle
from paddle import nn
from paddle.base import core

GAUSSIAN = core.eager.ops.gaussian  # goes past whatever is shared


class Net(nn.Layer):
    def __init__(self, size, case):
        super().__init__()
        self.case = case
        self.fc = nn.Linear(size, size)
        self.drop1 = nn.Dropout(0.2 if case == "lacking" else 0.3)
        self.drop2 = nn.Dropout(0.5)
        self.drop3 = nn.Dropout2D(0.4)
        self.mean = nn.Linear(size, size)
        self.spread = nn.Linear(size, size)
        self.head = nn.Linear(size, size)

    def forward(self, x):
        first, second = (self.drop2, self.drop1) if self.case == "swapped" else (self.drop1, self.drop2)
        x = first(paddle.tanh(self.fc(x)))
        if self.case == "hidden":
            x = x + paddle.to_tensor(np.random.standard_normal(x.shape) * 1e-3)  # numpy's
            x = x + GAUSSIAN(x.shape, 0.0, 1e-3, 0, x.dtype, paddle.CPUPlace())  # past the stream
        mean, spread = self.mean(x), self.spread(x)
        z = mean + paddle.exp(spread / 2) * paddle.randn(spread.shape)
        x = self.head(z if self.case == "lacking" else second(z))
        image = self.drop3(x.reshape([x.shape[0], 3, 1, 2]))
        return image.reshape(x.shape), mean, spread


class Side:
    def __init__(self, options):
        self.case = options["case"]
        self.networks = {"net": Net(options["size"], self.case)}
        parameters = self.networks["net"].parameters()
        self.optimizers = {"main": paddle.optimizer.Adam(1e-2, parameters=parameters)}

    def training_step(self, iteration, batch, observer):
        order = paddle.randperm(len(batch["x"]))
        x = batch["x"][order] * (1.0 if self.case == "hidden" else np.random.uniform(0.5, 1.5))
        out, mean, spread = self.networks["net"](x)
        loss = ((out - batch["target"]) ** 2).mean()
        kl = (mean**2 + paddle.exp(spread) - spread).mean()
        observer.loss("loss", loss)
        observer.loss("kl", kl)
        (loss + kl).backward()
        observer.gradients()
        self.optimizers["main"].step()
        self.optimizers["main"].clear_grad()
