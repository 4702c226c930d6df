"""The same in Paddle; tests make mistakes by changing this text."""

import paddle
from paddle import nn


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.hidden = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 3)

    def forward(self, tokens):
        hidden = self.norm(self.hidden(self.embedding(tokens).mean(1)))
        return self.out(nn.functional.gelu(hidden, approximate=False))


def model(options):
    return Net()


def loss(model, batch):
    logits = model(batch["tokens"]) * batch["share"]
    entropy = nn.functional.cross_entropy(logits, batch["target"])
    size = (logits**2).mean()
    return {"loss": entropy + 0.1 * size, "entropy": entropy, "size": size}


def optimizer(model, options):
    rate = paddle.optimizer.lr.StepDecay(options["rate"], 1, gamma=0.5)
    return paddle.optimizer.AdamW(rate, parameters=model.parameters(), weight_decay=0.01)


def scheduler(optimizer, options):
    return optimizer._learning_rate
