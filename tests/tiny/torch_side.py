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
        self.optimizers = {"adam": torch.optim.Adam(net.parameters(), lr=1e-2)}

    def training_step(self, iteration, batch, observer):
        loss = ((self.networks["net"](batch["tokens"]) - batch["target"]) ** 2).mean()
        observer.loss("loss", loss)
        loss.backward()
        observer.gradients()
        self.optimizers["adam"].step()
        self.optimizers["adam"].zero_grad()
