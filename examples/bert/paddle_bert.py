"""BERT in Paddle, with the names of transformers' ``BertModel``, and sentence embeddings with it.

The weights of Linear layers are all that conversion transposes, so it needs no rules.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812

from converter import load_into

__all__ = ["BertConfig", "BertModel", "embed", "minilm"]


@dataclass(frozen=True)
class BertConfig:
    """The sizes, named as in a ``config.json``; those of BERT base unless told otherwise."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    dropout: float = 0.1
    saved_position_ids: bool = True
    """Whether checkpoints hold `position_ids`: those of transformers before 4.31 do."""


class Embeddings(nn.Layer):
    """Token ids ``[N, T]`` to ``[N, T, hidden]``."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        # Torch's padding_idx only stops a gradient; Paddle's would also zero the embedding.
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        positions = paddle.arange(config.max_position_embeddings, dtype="int64").unsqueeze(0)
        self.register_buffer("position_ids", positions, persistable=config.saved_position_ids)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        words = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        positions = self.position_embeddings(self.position_ids[:, : input_ids.shape[1]])
        return self.dropout(self.LayerNorm(words + positions))


class SelfAttention(nn.Layer):
    """``[N, T, hidden]`` to the same; ``bias``, ``[N, 1, 1, T]``, is added to the scores."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query, self.key, self.value = (
            nn.Linear(config.hidden_size, config.hidden_size) for _ in range(3)
        )
        self.dropout = config.dropout

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        query, key, value = (
            project(hidden).reshape([*hidden.shape[:2], self.heads, -1])
            for project in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, bias, self.dropout, training=self.training)
        return mixed.reshape(hidden.shape)


class Output(nn.Layer):
    """The end of both halves of a layer: project, add what came in, normalise."""

    def __init__(self, features: int, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(features, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(hidden)) + residual)


class Attention(nn.Layer):
    """Self-attention and its `Output`."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Output(config.hidden_size, config)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        return self.output(self.self(hidden, bias), hidden)


class Dense(nn.Layer):
    """A Linear layer under the name ``dense``, and its activation."""

    def __init__(self, source: int, target: int, activation: nn.Layer) -> None:
        super().__init__()
        self.dense = nn.Linear(source, target)
        self.activation = activation

    def forward(self, hidden: Tensor) -> Tensor:
        return self.activation(self.dense(hidden))


class BertLayer(nn.Layer):
    """Attention, then two dense layers with the exact GELU between them."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Dense(config.hidden_size, config.intermediate_size, nn.GELU())
        self.output = Output(config.intermediate_size, config)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        attended = self.attention(hidden, bias)
        return self.output(self.intermediate(attended), attended)


class Encoder(nn.Layer):
    """The stack of layers."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.LayerList([BertLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        for layer in self.layer:
            hidden = layer(hidden, bias)
        return hidden


class BertModel(nn.Layer):
    """Token ids ``[N, T]`` to ``[N, T, hidden]`` and the pooled first token, ``[N, hidden]``.

    ``attention_mask`` is 1 for tokens and 0 for padding.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = Dense(config.hidden_size, config.hidden_size, nn.Tanh())

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if attention_mask is None:
            attention_mask = paddle.ones_like(input_ids)
        if token_type_ids is None:
            token_type_ids = paddle.zeros_like(input_ids)
        hidden = self.embeddings(input_ids, token_type_ids)
        bias = (attention_mask - 1).astype(hidden.dtype)[:, None, None, :] * paddle.finfo(hidden.dtype).max
        hidden = self.encoder(hidden, bias)
        return hidden, self.pooler(hidden[:, 0])


def embed(model: BertModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Return one vector of length 1 for each sentence, ``[N, hidden]``: the mean over its tokens."""
    hidden, _ = model(input_ids, attention_mask)
    weights = attention_mask.astype(hidden.dtype).unsqueeze(-1)
    return F.normalize((hidden * weights).sum(1) / weights.sum(1))


def minilm() -> BertModel:
    """Build the network of all-MiniLM-L6-v2, without its weights."""
    return BertModel(BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536))


def main(weights: str, vocabulary: str, *sentences: str) -> None:
    """Print the cosine similarity of every pair of sentences."""
    from tokenizers import Tokenizer

    model = minilm()
    load_into(model, Path(weights))
    model.eval()
    tokenizer = Tokenizer.from_file(vocabulary)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(list(sentences))
    ids, masks = zip(*((sentence.ids, sentence.attention_mask) for sentence in encoded), strict=True)
    vectors = embed(model, paddle.to_tensor(ids), paddle.to_tensor(masks))
    for sentence, row in zip(sentences, (vectors @ vectors.T).tolist(), strict=True):
        print(*(f"{similarity:6.3f}" for similarity in row), "", sentence)


if __name__ == "__main__":
    main(*sys.argv[1:])
