"""The tiny pair in Torch."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 6)
        self.fc = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 6)
        self.idle = nn.Linear(6, 6)

    def forward(self, tokens):
        return self.head(torch.relu(self.norm(self.fc(self.embedding(tokens)))))


class Tiny:
    def __init__(self, options):
        net = Net()
        self.networks = {"net": net}
        self.optimizers = {"adam": self.optimizer(net)}

    def optimizer(self, net):
        return torch.optim.Adam(net.parameters(), lr=1e-2)

    def training_step(self, iteration, batch, observer):
        loss = ((self.networks["net"](batch["tokens"]) - batch["target"]) ** 2).mean()
        observer.loss("loss", loss)
        loss.backward()
        observer.gradients()
        self.optimizers["adam"].step()
        self.optimizers["adam"].zero_grad()


class Stepping(Tiny):
    """A side whose loss is its subclass's business."""

    def training_step(self, iteration, batch, observer):
        loss = self.loss(iteration, batch)
        observer.loss("loss", loss)
        loss.backward()
        observer.gradients()
        self.optimizers["adam"].step()
        self.optimizers["adam"].zero_grad()


class Skipping(Stepping):
    """BatchNorm used in every second iteration only."""

    def loss(self, iteration, batch):
        net = self.networks["net"]
        output = net(batch["tokens"]) if iteration % 2 == 0 else net.head(net.embedding(batch["tokens"]))
        return ((output - batch["target"]) ** 2).mean()


class Mixed(Stepping):
    """BatchNorm called with batches of different sizes, in the first iteration only."""

    def loss(self, iteration, batch):
        output = self.networks["net"](batch["tokens"])
        loss = ((output - batch["target"]) ** 2).mean()
        if iteration == 0:
            loss = loss + (self.networks["net"](batch["tokens"][:5]) ** 2).mean()
        return loss


class Vanishing(Stepping):
    """A loss that is zero but for rounding."""

    def loss(self, iteration, batch):
        output = self.networks["net"](batch["tokens"])
        return (output.sum() - (output * 3.0).sum() / 3.0) * 1e-3


class WithMomentum(Tiny):
    """Another optimizer, the same on both sides."""

    def optimizer(self, net):
        return torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9)


class Twice(Tiny):
    """A training step that reports a loss twice."""

    def training_step(self, iteration, batch, observer):
        super().training_step(iteration, batch, observer)
        loss = ((self.networks["net"](batch["tokens"]) - batch["target"]) ** 2).mean()
        observer.loss("loss", loss)


class TwoBackwards(Tiny):
    """Two losses, each with a backward of its own, in one step."""

    factor = 1.0

    def training_step(self, iteration, batch, observer):
        output = self.networks["net"](batch["tokens"])
        for name, power in (("first", 2), ("second", 4)):
            loss = ((output - batch["target"]) ** power).mean() * (self.factor if name == "first" else 1.0)
            observer.loss(name, loss)
            loss.backward(retain_graph=True)
            observer.gradients()
        self.optimizers["adam"].step()
        self.optimizers["adam"].zero_grad()
