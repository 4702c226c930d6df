"""A classifier on the BERT of `paddle_bert.py`, small."""

import paddle
from paddle import nn
from paddle.nn import functional as F  # noqa: N812

from examples.bert.paddle_bert import BertConfig, BertModel


class Classifier(nn.Layer):
    """Words ``[N, T]`` to scores ``[N, classes]``, from the pooled first word."""

    def __init__(self, epsilon, classes=3):
        super().__init__()
        config = BertConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            max_position_embeddings=8,
            num_hidden_layers=2,
            num_attention_heads=4,
            layer_norm_eps=epsilon,
            dropout=0.0,
            saved_position_ids=False,
        )
        self.bert = BertModel(config)
        self.head = nn.Linear(16, classes)

    def forward(self, words):
        _, pooled = self.bert(words)
        return self.head(pooled)


def model(options):
    """Build the network. BERT's epsilon is 1e-12; LayerNorm's default, in both frameworks, is 1e-5."""
    network = Classifier(epsilon=1e-5 if options["mistake"] else 1e-12)
    network.train()
    return network


def loss(model, batch):
    """Return the cross entropy of the classes."""
    return F.cross_entropy(model(batch["words"]), batch["label"])


def optimizer(model, options):
    """Return what steps."""
    return paddle.optimizer.AdamW(1e-4, parameters=model.parameters(), weight_decay=0.01)
