"""The tagger in Paddle."""

import paddle
from paddle import nn
from paddle.nn import functional as F  # noqa: N812

PADDING = 0


class Tagger(nn.Layer):
    """Words ``[N, T]`` to scores of tags ``[N, T, tags]``."""

    def __init__(self, words=50, tags=6, size=16):
        super().__init__()
        self.embedding = nn.Embedding(words, size, padding_idx=PADDING)
        self.lstm = nn.LSTM(size, size, direction="bidirect")
        self.head = nn.Linear(2 * size, tags)

    def forward(self, words):
        hidden, _ = self.lstm(self.embedding(words))
        return self.head(hidden)


def model(options):
    """Build the network, for training: in evaluation mode Paddle's LSTM has no gradient on a CPU."""
    network = Tagger()
    network.train()
    network.ignored = -100 if options["mistake"] else PADDING  # -100, the default, is no tag
    return network


def loss(model, batch):
    """Return the cross entropy of the tags; padding has none."""
    scores = model(batch["words"])
    return F.cross_entropy(scores.flatten(0, 1), batch["tags"].flatten(), ignore_index=model.ignored)


def optimizer(model, options):
    """Return what steps."""
    return paddle.optimizer.Adam(1e-3, parameters=model.parameters())
