"""The original: a small text classifier in Torch, and a training script's checkpoint of it.

python -m examples.resume.torch_model train.pth
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

__all__ = ["Classifier", "train"]


class Classifier(nn.Module):
    """Token ids ``[batch, length]`` to scores ``[batch, 3]``."""

    def __init__(self) -> None:
        """Make the layers with Torch's default weights."""
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.rnn = nn.GRU(16, 16, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, _ = self.rnn(self.embed(tokens))
        scores: torch.Tensor = self.head(self.norm(states[:, -1]))
        return scores


def train(steps: int) -> dict[str, Any]:
    """Train on random tokens and return the checkpoint that a training script would save."""
    torch.manual_seed(0)
    model = Classifier()
    wrapped = nn.Sequential()
    wrapped.add_module("module", model)  # the names that DataParallel gives
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in range(steps):
        tokens, labels = torch.randint(0, 50, (8, 5)), torch.randint(0, 3, (8,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(wrapped(tokens), labels).backward()
        optimizer.step()
    return {"step": steps, "model_state": wrapped.state_dict(), "optimizer_state": optimizer.state_dict()}


if __name__ == "__main__":
    torch.save(train(20), sys.argv[1])
