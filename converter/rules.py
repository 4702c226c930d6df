"""How each layer's tensors are called and laid out in either framework: the table.

Names and layouts were compared layer by layer between Torch 2.13.0 and Paddle 3.3.1; every row has
a test that builds both layers and compares their outputs and gradients
(``tests/converter/test_rules.py``). The language of the rows is that of `converter.language`.
"""

from __future__ import annotations

from typing import NamedTuple

from converter.language import Rule, parse_rule

__all__ = ["BUFFERS", "COMPOSITES", "LAYER_RULES", "PADDLE_CLASSES", "VARIANTS", "Child"]


def _rules(*rows: str) -> tuple[Rule, ...]:
    return tuple(map(parse_rule, rows))


def _weights(torch: str, paddle: str, operation: str = "") -> tuple[Rule, ...]:
    """Rules for a weight of these sizes and for what is kept in its stead by a reparametrisation.

    weight_norm has the norms as ``weight_g`` and the directions as ``weight_v``; its successor in
    Torch calls them ``original0`` and ``original1``, and Paddle knows the first spelling only, with
    one axis in ``weight_g``. (Give Paddle's weight_norm ``dim=1`` for a Linear, whose axes are
    swapped.) spectral_norm has the weight, and two vectors of its power iteration.
    """
    then = f", {operation}" if operation else ""
    spectral = "parametrizations.weight.0"
    axis = paddle.split(", ").index(torch.split(", ")[0])  # of Torch's first, on Paddle's side
    return _rules(
        f"weight[{torch}] -> weight[{paddle}]{then}",
        f"weight_g[...] -> weight_g[...], flatten weight_v {axis}",
        f"weight_v[{torch}] -> weight_v[{paddle}]{then}",
        f"parametrizations.weight.original0[...] -> weight_g[...], flatten weight_v {axis}",
        f"parametrizations.weight.original1[{torch}] -> weight_v[{paddle}]{then}",
        f"weight_orig[{torch}] -> weight_orig[{paddle}]{then}",
        "weight_u[rows] -> weight_u[rows]",
        "weight_v[columns] -> weight_v[columns]",
        f"parametrizations.weight.original[{torch}] -> weight_orig[{paddle}]{then}, with {spectral}._u",
        f"{spectral}._u[rows] -> weight_u[rows]",
        f"{spectral}._v[columns] -> weight_v[columns]",
    )


def _convolution(sizes: str) -> tuple[Rule, ...]:
    return _weights(sizes, sizes) + _rules("bias[out] -> bias[out]")


_AFFINE = _rules("weight[size] -> weight[size]", "bias[size] -> bias[size]")

_BATCH_NORM = _AFFINE + _rules(
    "running_mean[size] -> _mean[size]",
    "running_var[size] -> _variance[size]",
    # A step counter that Torch reads only when momentum is None; Paddle has neither.
    "num_batches_tracked[] -> nothing",
)

# Paddle has no running statistics here, so a Torch layer that tracks them cannot be converted.
_INSTANCE_NORM = _rules("weight[size] -> scale[size]", "bias[size] -> bias[size]")

_GATES = {
    "weight_ih": "gates*hidden, in",
    "weight_hh": "gates*hidden, out",
    "bias_ih": "gates*hidden",
    "bias_hh": "gates*hidden",
}


def _recurrent(cell: str, suffix: str = "") -> tuple[Rule, ...]:
    """Rules for one direction of a recurrent net, whose cells Paddle lists a second time."""
    return _rules(
        *(
            f"{name}_l{{k}}{suffix}[{sizes}] -> {name}_l{{k}}{suffix}[{sizes}] = {{k}}.{cell}.{name}"
            for name, sizes in _GATES.items()
        )
    )


def _projected(cell: str, suffix: str = "") -> tuple[Rule, ...]:
    """Rules for one direction of an LSTM with ``proj_size``.

    Paddle's list of flat names (python/paddle/nn/layer/rnn.py, RNNBase) forgets the projection, so
    that they stand for the wrong tensors; the names of the cells are right.
    """
    return _rules(
        *(
            f"{name}_l{{k}}{suffix}[{sizes}] -> {{k}}.{cell}.{name}[{sizes}]"
            for name, sizes in _GATES.items()
        ),
        f"weight_hr_l{{k}}{suffix}[out, hidden] -> {{k}}.{cell}.weight_ho[hidden, out], transpose",
        *(f"nothing -> {name}_l{{k}}{suffix}" for name in _GATES),
    )


_RECURRENT = _recurrent("cell")
_BIDIRECTIONAL = _recurrent("cell_fw") + _recurrent("cell_bw", "_reverse")
_CELL = _rules(*(f"{name}[{sizes}] -> {name}[{sizes}]" for name, sizes in _GATES.items()))

LAYER_RULES: dict[str, tuple[Rule, ...]] = {
    "Linear": _weights("out, in", "in, out", "transpose") + _rules("bias[out] -> bias[out]"),
    "Bilinear": _rules(
        "weight[out, in1, in2] -> weight[out, in1, in2]", "bias[out] -> bias[1, out], unsqueeze 0"
    ),
    "Conv1d": _convolution("out, in/groups, length"),
    "Conv2d": _convolution("out, in/groups, height, width"),
    "Conv3d": _convolution("out, in/groups, depth, height, width"),
    "ConvTranspose1d": _convolution("in, out/groups, length"),
    "ConvTranspose2d": _convolution("in, out/groups, height, width"),
    "ConvTranspose3d": _convolution("in, out/groups, depth, height, width"),
    "BatchNorm1d": _BATCH_NORM,
    "BatchNorm2d": _BATCH_NORM,
    "BatchNorm3d": _BATCH_NORM,
    "SyncBatchNorm": _BATCH_NORM,
    "LayerNorm": _rules("weight[...] -> weight[size], flatten", "bias[...] -> bias[size], flatten"),
    "GroupNorm": _AFFINE,
    "InstanceNorm1d": _INSTANCE_NORM,
    "InstanceNorm2d": _INSTANCE_NORM,
    "InstanceNorm3d": _INSTANCE_NORM,
    "Embedding": _rules("weight[rows, size] -> weight[rows, size]"),
    "EmbeddingBag": _rules("weight[rows, size] -> weight[rows, size]"),
    "PReLU": _rules("weight[size] -> _weight[size]"),
    "RNN": _RECURRENT,
    "RNN, bidirectional": _BIDIRECTIONAL,
    "LSTM": _RECURRENT,
    "LSTM, bidirectional": _BIDIRECTIONAL,
    "LSTM, projected": _projected("cell"),
    "LSTM, projected, bidirectional": _projected("cell_fw") + _projected("cell_bw", "_reverse"),
    "GRU": _RECURRENT,
    "GRU, bidirectional": _BIDIRECTIONAL,
    "RNNCell": _CELL,
    "LSTMCell": _CELL,
    "GRUCell": _CELL,
    # Torch packs the three projections unless keys or values have sizes of their own.
    "MultiheadAttention": _rules(
        "in_proj_weight[3*size, size] -> q_proj.weight[size, size] + k_proj.weight[size, size]"
        " + v_proj.weight[size, size], split 0, transpose",
        "q_proj_weight[size, size] -> q_proj.weight[size, size], transpose",
        "k_proj_weight[size, kdim] -> k_proj.weight[kdim, size], transpose",
        "v_proj_weight[size, vdim] -> v_proj.weight[vdim, size], transpose",
        "in_proj_bias[3*size] -> q_proj.bias[size] + k_proj.bias[size] + v_proj.bias[size], split 0",
    ),
}
"""By Torch class name, or the name of a class's variant."""

BUFFERS = frozenset({"running_mean", "running_var", "num_batches_tracked"})
"""Which of these tensors are no parameters, by Torch name."""

VARIANTS: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "RNN": ((("weight_ih_l0_reverse",), "RNN, bidirectional"),),
    "GRU": ((("weight_ih_l0_reverse",), "GRU, bidirectional"),),
    "LSTM": (
        (("weight_hr_l0_reverse", "0.cell_bw.weight_ho"), "LSTM, projected, bidirectional"),
        (("weight_hr_l0", "0.cell.weight_ho"), "LSTM, projected"),
        (("weight_ih_l0_reverse",), "LSTM, bidirectional"),
    ),
}
"""By type: tensors whose presence, by name, says that the layer is a variant, and the variant."""

PADDLE_CLASSES: dict[str, str] = {
    **{f"Conv{n}D": f"Conv{n}d" for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": f"ConvTranspose{n}d" for n in (1, 2, 3)},
    **{f"BatchNorm{n}D": f"BatchNorm{n}d" for n in (1, 2, 3)},
    **{f"InstanceNorm{n}D": f"InstanceNorm{n}d" for n in (1, 2, 3)},
    "MultiHeadAttention": "MultiheadAttention",
    "BatchNorm": "BatchNorm2d",
    "SimpleRNN": "RNN",
    "SimpleRNNCell": "RNNCell",
}
"""Torch's names of Paddle's layers, where they differ."""


class Child(NamedTuple):
    """A layer within a layer: its two names and its type."""

    torch: str
    paddle: str
    type: str


def _children(*rows: tuple[str, str]) -> tuple[Child, ...]:
    """Read rows of names and types; ``a -> b`` is Torch's name and Paddle's."""
    return tuple(Child(name.partition(" -> ")[0], name.rpartition(" -> ")[2], kind) for name, kind in rows)


_FEED_FORWARD = (("linear1", "Linear"), ("linear2", "Linear"), ("norm1", "LayerNorm"), ("norm2", "LayerNorm"))

COMPOSITES: dict[str, tuple[Child, ...]] = {
    "MultiheadAttention": _children(("out_proj", "Linear")),
    "TransformerEncoderLayer": _children(("self_attn", "MultiheadAttention"), *_FEED_FORWARD),
    "TransformerDecoderLayer": _children(
        ("self_attn", "MultiheadAttention"),
        ("multihead_attn -> cross_attn", "MultiheadAttention"),
        *_FEED_FORWARD,
        ("norm3", "LayerNorm"),
    ),
}
"""Layers made of layers, by Torch class name."""
