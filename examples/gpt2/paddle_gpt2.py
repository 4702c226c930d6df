"""GPT-2 in Paddle, with the names of transformers' ``GPT2LMHeadModel``.

GPT-2's projections keep their weights as ``[in, out]``, which is Paddle's own layout: ``rules.toml``
tells the converter not to transpose what are Linear layers here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812

from converter import load_into

__all__ = ["GPT2Config", "GPT2LMHeadModel", "gpt2"]


@dataclass(frozen=True)
class GPT2Config:
    """The sizes, named as in a ``config.json``; those of the small GPT-2 unless told otherwise."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    layer_norm_epsilon: float = 1e-5
    dropout: float = 0.1


class Attention(nn.Layer):
    """Every position sees itself and what came before: ``[N, T, n_embd]`` to the same."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.heads = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.dropout = config.dropout

    def forward(self, hidden: Tensor) -> Tensor:
        packed = self.c_attn(hidden).reshape([*hidden.shape[:2], 3, self.heads, -1])
        mixed = F.scaled_dot_product_attention(
            *packed.unbind(2), dropout_p=self.dropout, is_causal=True, training=self.training
        )
        return self.c_proj(mixed.reshape(hidden.shape))


class MLP(nn.Layer):
    """Two projections with the tanh GELU between them."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(hidden), approximate=True))


class Block(nn.Layer):
    """Attention and MLP, each on what is normalised and added to what is not."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.dropout(self.attn(self.ln_1(hidden)))
        return hidden + self.dropout(self.mlp(self.ln_2(hidden)))


class GPT2Model(nn.Layer):
    """Token ids ``[N, T]`` to ``[N, T, n_embd]``."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.LayerList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.drop(self.wte(input_ids) + self.wpe(paddle.arange(input_ids.shape[1])))
        for block in self.h:
            hidden = block(hidden)
        return self.ln_f(hidden)


class TiedHead(nn.Layer):
    """The logits ``[..., vocab_size]`` of what resembles which row of an embedding's weight."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.weight = embedding.weight

    def forward(self, hidden: Tensor) -> Tensor:
        return paddle.matmul(hidden, self.weight, transpose_y=True)


class GPT2LMHeadModel(nn.Layer):
    """Token ids ``[N, T]`` to the next ones' logits, ``[N, T, vocab_size]``."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.transformer = GPT2Model(config)
        self.lm_head = TiedHead(self.transformer.wte)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.lm_head(self.transformer(input_ids))


def gpt2() -> GPT2LMHeadModel:
    """Build the small GPT-2, without its weights."""
    return GPT2LMHeadModel(GPT2Config())


def main(weights: str, *tokens: str, more: int = 5) -> None:
    """Print the tokens' ids and those of the likeliest ones that follow."""
    model = gpt2()
    load_into(model, Path(weights))
    model.eval()
    ids = paddle.to_tensor([list(map(int, tokens))])
    for _ in range(more):
        ids = paddle.concat([ids, model(ids)[:, -1:].argmax(-1)], axis=1)
    print(*ids[0].tolist())


if __name__ == "__main__":
    main(*sys.argv[1:])
