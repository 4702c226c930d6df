"""A model of three kinds of layers, in functions."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.hidden = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 3)

    def forward(self, tokens):
        hidden = self.norm(self.hidden(self.embedding(tokens).mean(1)))
        return self.out(nn.functional.gelu(hidden))


def model(options):
    return Net()


def loss(model, batch):
    logits = model(batch["tokens"]) * batch["share"]
    entropy = nn.functional.cross_entropy(logits, batch["target"])
    size = (logits**2).mean()
    return {"loss": entropy + 0.1 * size, "entropy": entropy, "size": size}


def optimizer(model, options):
    return torch.optim.AdamW(model.parameters(), lr=options["rate"], weight_decay=0.01)


def scheduler(optimizer, options):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
