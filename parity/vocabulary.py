"""Words for layers and functions that both frameworks share, from what each calls them."""

from __future__ import annotations

__all__ = ["kind_of", "operation_of"]

_KINDS = {
    "nondynamicallyquantizablelinear": "linear",
    "convtranspose1d": "conv1d_transpose",
    "convtranspose2d": "conv2d_transpose",
    "convtranspose3d": "conv3d_transpose",
    "conv1dtranspose": "conv1d_transpose",
    "conv2dtranspose": "conv2d_transpose",
    "conv3dtranspose": "conv3d_transpose",
    "swish": "silu",
    "simplernn": "rnn",
    "zeropad2d": "pad2d",
    "mseloss": "mse_loss",
    "l1loss": "l1_loss",
    "smoothl1loss": "smooth_l1_loss",
    "bceloss": "binary_cross_entropy",
    "bcewithlogitsloss": "binary_cross_entropy_with_logits",
    "crossentropyloss": "cross_entropy",
    "nllloss": "nll_loss",
    "kldivloss": "kl_div",
    "hingeembeddingloss": "hinge_embedding_loss",
    "marginrankingloss": "margin_ranking_loss",
}
_OPERATIONS = {
    "clamp": "clip",
    "swish": "silu",
    "relu_": "relu",
    "logsigmoid": "log_sigmoid",
    "softmax_with_cross_entropy": "cross_entropy",
    "upsample": "interpolate",
    **{f"conv_transpose{n}d": f"conv{n}d_transpose" for n in (1, 2, 3)},
}


def kind_of(class_name: str) -> str:
    """Return the kind of a layer, the same word for both frameworks' classes."""
    name = class_name.lower()
    return _KINDS.get(name, name)


def operation_of(function_name: str) -> str:
    """Return the word for a function, the same for both frameworks' names."""
    return _OPERATIONS.get(function_name, function_name)
