"""A classifier on `torch.nn.TransformerEncoder`."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class Classifier(nn.Module):
    """Words ``[N, T]`` to scores ``[N, classes]``; the word 0 is padding."""

    def __init__(self, words=40, classes=3, size=16, longest=10):
        super().__init__()
        self.words = nn.Embedding(words, size)
        self.places = nn.Embedding(longest, size)
        layer = nn.TransformerEncoderLayer(
            size, nhead=4, dim_feedforward=32, dropout=0.0, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(size, classes)

    def forward(self, words):
        places = torch.arange(words.shape[1])
        hidden = self.words(words) + self.places(places)
        hidden = self.encoder(hidden, src_key_padding_mask=words == 0)
        return self.head(hidden.mean(1))


def model(options):
    """Build the network."""
    return Classifier().train()


def loss(model, batch):
    """Return the cross entropy of the classes."""
    return F.cross_entropy(model(batch["words"]), batch["label"])


def optimizer(model, options):
    """Return what steps."""
    return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
