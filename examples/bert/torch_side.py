"""A classifier on transformers' BERT, small."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from transformers import BertConfig, BertModel


class Classifier(nn.Module):
    """Words ``[N, T]`` to scores ``[N, classes]``, from the pooled first word."""

    def __init__(self, classes=3):
        super().__init__()
        config = BertConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            max_position_embeddings=8,
            num_hidden_layers=2,
            num_attention_heads=4,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            # Nothing is padded here. A padding index keeps a row from training in Torch; in Paddle it also
            # makes the row read as zeros, which a trained model's is not.
            pad_token_id=None,
        )
        self.bert = BertModel(config)
        self.head = nn.Linear(16, classes)

    def forward(self, words):
        return self.head(self.bert(words).pooler_output)


def model(options):
    """Build the network."""
    return Classifier().train()


def loss(model, batch):
    """Return the cross entropy of the classes."""
    return F.cross_entropy(model(batch["words"]), batch["label"])


def optimizer(model, options):
    """Return what steps."""
    return torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
