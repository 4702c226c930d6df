"""Right ports in forms that a careless judge takes for wrong ones, in Torch; ``right_paddle.py`` mirrors it."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    def __init__(self, case, size):
        super().__init__()
        self.case = case
        self.fc = nn.Linear(size, size)
        self.head = nn.Linear(size, size)
        if case == "tied":
            self.head.weight = self.fc.weight
        if case == "frozen":
            for parameter in self.fc.parameters():
                parameter.requires_grad = False

    def forward(self, x):
        x = torch.tanh(self.fc(x))
        if self.case == "masked":
            x = functional.softmax(torch.where(x > 0.5, -torch.inf, x), dim=1)
        if self.case == "axes":
            x = functional.softmax(x, dim=1) + x.mean((0, 1))
        return self.head(x)


class Side:
    def __init__(self, options):
        self.case = case = options["case"]
        self.networks = {"net": Net(case, options["size"]), "other": nn.Linear(options["size"], 1)}
        self.optimizers = {"main": self.optimizer(self.networks["net"])}
        np.random.seed(0)

    def optimizer(self, net):
        if self.case == "rmsprop":
            return torch.optim.RMSprop(net.parameters(), lr=1e-2, alpha=0.99, eps=1e-8)
        if self.case == "groups":
            groups = [{"params": net.fc.parameters()}, {"params": net.head.parameters(), "lr": 1e-3}]
            return torch.optim.Adam(groups, lr=1e-2)
        return torch.optim.Adam(net.parameters(), lr=1e-2)

    def training_step(self, iteration, batch, observer):
        x = batch["x"]
        if self.case == "random":
            x = x * torch.from_numpy((np.random.rand(*x.shape) < 0.5).astype(np.float64)).to(x.dtype)
        loss = functional.mse_loss(self.networks["net"](x), batch["target"])
        observer.loss("loss", loss)
        loss.backward()
        if self.case == "clipped":
            nn.utils.clip_grad_value_(self.networks["net"].parameters(), clip_value=0.01)
        observer.gradients()
        self.optimizers["main"].step()
        self.optimizers["main"].zero_grad()
