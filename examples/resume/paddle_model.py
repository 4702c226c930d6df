"""The port: the same classifier in Paddle, which calls its last layer otherwise, and goes on training.

python -m examples.resume.paddle_model model.pdparams model.pdopt
"""

from __future__ import annotations

import sys
from pathlib import Path

import paddle
from paddle import nn

from converter import load_into
from converter.optimizer import load_optimizer_into

__all__ = ["Classifier", "resume"]


class Classifier(nn.Layer):
    """Token ids ``[batch, length]`` to scores ``[batch, 3]``."""

    def __init__(self) -> None:
        """Make the layers with Paddle's default weights."""
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.rnn = nn.GRU(16, 16)
        self.norm = nn.LayerNorm(16)
        self.classifier = nn.Linear(16, 3)

    def forward(self, tokens: paddle.Tensor) -> paddle.Tensor:
        states, _ = self.rnn(self.embed(tokens))
        return self.classifier(self.norm(states[:, -1]))


def resume(weights: Path, state: Path, steps: int) -> None:
    """Load both files, all or nothing, and take some more steps."""
    model = Classifier()
    optimizer = paddle.optimizer.AdamW(1e-3, parameters=model.parameters(), weight_decay=0.01)
    load_into(model, weights)
    load_optimizer_into(optimizer, {"": model}, state)
    paddle.seed(0)
    for step in range(steps):
        tokens, labels = paddle.randint(0, 50, (8, 5)), paddle.randint(0, 3, (8,))
        loss = nn.functional.cross_entropy(model(tokens), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        print(f"step {step}: loss {float(loss):.4f}")


if __name__ == "__main__":
    resume(Path(sys.argv[1]), Path(sys.argv[2]), 3)
