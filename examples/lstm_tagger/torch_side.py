"""The tagger in Torch."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

PADDING = 0


class Tagger(nn.Module):
    """Words ``[N, T]`` to scores of tags ``[N, T, tags]``."""

    def __init__(self, words=50, tags=6, size=16):
        super().__init__()
        self.embedding = nn.Embedding(words, size, padding_idx=PADDING)
        self.lstm = nn.LSTM(size, size, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * size, tags)

    def forward(self, words):
        hidden, _ = self.lstm(self.embedding(words))
        return self.head(hidden)


def model(options):
    """Build the network."""
    return Tagger().train()


def loss(model, batch):
    """Return the cross entropy of the tags; padding has none."""
    scores = model(batch["words"])
    return F.cross_entropy(scores.flatten(0, 1), batch["tags"].flatten(), ignore_index=PADDING)


def optimizer(model, options):
    """Return what steps."""
    return torch.optim.Adam(model.parameters(), lr=1e-3)
