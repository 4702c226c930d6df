"""The same classifier on `paddle.nn.TransformerEncoder`."""

import paddle
from paddle import nn
from paddle.nn import functional as F  # noqa: N812


class Classifier(nn.Layer):
    """Words ``[N, T]`` to scores ``[N, classes]``; the word 0 is padding."""

    def __init__(self, words=40, classes=3, size=16, longest=10, inverted=False):
        super().__init__()
        self.words = nn.Embedding(words, size)
        self.places = nn.Embedding(longest, size)
        layer = nn.TransformerEncoderLayer(size, nhead=4, dim_feedforward=32, dropout=0.0, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(size, classes)
        self.inverted = inverted

    def forward(self, words):
        places = paddle.arange(words.shape[1])
        hidden = self.words(words) + self.places(places)
        # Torch's mask is true for what to leave out, Paddle's for what to keep.
        mask = words == 0 if self.inverted else words != 0
        hidden = self.encoder(hidden, src_mask=mask[:, None, None, :])
        return self.head(hidden.mean(1))


def model(options):
    """Build the network."""
    network = Classifier(inverted=options["mistake"])
    network.train()
    return network


def loss(model, batch):
    """Return the cross entropy of the classes."""
    return F.cross_entropy(model(batch["words"]), batch["label"])


def optimizer(model, options):
    """Return what steps."""
    return paddle.optimizer.AdamW(1e-3, parameters=model.parameters(), weight_decay=0.01)
