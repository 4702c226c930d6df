"""Cases for every rule: the same layer in both frameworks, square wherever a layer can be.

No shape can hint at what a tensor is, so only the rules can. Needs no framework until a model is built.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

# Words for expressions below.
SEQUENCE, IMAGE, VOLUME = (3, 5, 4), (2, 4, 6, 6), (2, 4, 4, 4, 4)
FLIPPED, BOTH, THREE = "m(x, x.flip(-1))", "m(x, x.flip(1))", "m(x, x.flip(1), x.flip(-1))"
DEEP, TWO_WAYS = ", num_layers=2", ", num_layers=2, bidirectional=True"
PADDLE_TWO_WAYS = ", num_layers=2, direction='bidirect'"


@dataclass(frozen=True)
class Case:
    """A layer as both frameworks spell it, and how to call it (``m``) on an input (``x``)."""

    torch: str
    paddle: str
    shape: tuple[int, ...] = (3, 4)
    call: str = "m(x)"
    paddle_call: str = ""
    """Where it is not the same."""
    ids: bool = False
    """The input is whole numbers below 4, which have no gradient."""
    train: bool = False
    """Paddle's rnn kernel has a gradient in training mode only ("Tensor holds no memory")."""
    layers: dict[str, str] = field(default_factory=dict)
    """Types by path within, unless the case is one layer of the first class named."""
    absent: str = r"(?!)"
    """Which of Paddle's names (a regular expression) the rules leave out."""
    bound: float = 1e-12
    """On the differences of output and of input gradient."""
    needs_model: bool = False
    """Only Torch's model tells what the tensors were before: the names or the shapes are not in Paddle's."""

    @property
    def types(self) -> dict[str, str]:
        """The types of its layers by path."""
        return self.layers or {"": re.findall(r"nn\.(\w+)", self.torch)[0]}


def _recurrent(kind: str, more: str = "", paddle_more: str = "", **said) -> Case:
    paddle = {"RNN": "SimpleRNN"}.get(kind, kind)
    expressions = f"nn.{kind}(4, 4, batch_first=True{more})", f"nn.{paddle}(4, 4{paddle_more})"
    return Case(*expressions, SEQUENCE, "m(x)[0]", **{"train": True, **said})


# Paddle's flat names leave weight_ho out of account: "weight_ih_l1" is the first cell's weight_ho.
_PROJECTED = {"train": False, "absent": r"\w+_l\d+(_reverse)?"}
_ATTENTION = {"shape": SEQUENCE, "call": f"{THREE}[0]", "paddle_call": THREE}

CASES: dict[str, Case] = {
    "linear": Case("nn.Linear(4, 4)", "nn.Linear(4, 4)"),
    "linear_without_bias": Case("nn.Linear(4, 4, bias=False)", "nn.Linear(4, 4, bias_attr=False)"),
    "bilinear": Case("nn.Bilinear(4, 4, 4)", "nn.Bilinear(4, 4, 4)", call=FLIPPED),
    "embedding": Case("nn.Embedding(4, 4)", "nn.Embedding(4, 4)", ids=True),
    # Paddle has no EmbeddingBag.
    "embedding_bag": Case(
        "nn.EmbeddingBag(4, 4, mode='sum')", "nn.Embedding(4, 4)", paddle_call="m(x).sum(1)", ids=True
    ),
    "conv1d": Case("nn.Conv1d(4, 4, 4)", "nn.Conv1D(4, 4, 4)", (2, 4, 6)),
    "conv2d": Case("nn.Conv2d(4, 4, 4)", "nn.Conv2D(4, 4, 4)", IMAGE),
    "conv2d_without_bias": Case(
        "nn.Conv2d(4, 4, 4, bias=False)", "nn.Conv2D(4, 4, 4, bias_attr=False)", IMAGE
    ),
    "conv3d": Case("nn.Conv3d(4, 4, 4)", "nn.Conv3D(4, 4, 4)", VOLUME),
    "deconv1d": Case("nn.ConvTranspose1d(4, 4, 4)", "nn.Conv1DTranspose(4, 4, 4)", (2, 4, 6)),
    "deconv2d": Case("nn.ConvTranspose2d(4, 4, 4)", "nn.Conv2DTranspose(4, 4, 4)", IMAGE),
    "deconv3d": Case("nn.ConvTranspose3d(4, 4, 4)", "nn.Conv3DTranspose(4, 4, 4)", VOLUME),
    "conv2d_groups": Case("nn.Conv2d(4, 4, 2, groups=2)", "nn.Conv2D(4, 4, 2, groups=2)", IMAGE),
    "deconv1d_groups": Case(
        "nn.ConvTranspose1d(4, 4, 2, groups=2)", "nn.Conv1DTranspose(4, 4, 2, groups=2)", (2, 4, 6)
    ),
    "deconv2d_groups": Case(
        "nn.ConvTranspose2d(4, 4, 2, groups=2)", "nn.Conv2DTranspose(4, 4, 2, groups=2)", IMAGE
    ),
    "deconv3d_groups": Case(
        "nn.ConvTranspose3d(4, 4, 2, groups=2)", "nn.Conv3DTranspose(4, 4, 2, groups=2)", VOLUME
    ),
    "batch_norm1d": Case("nn.BatchNorm1d(4)", "nn.BatchNorm1D(4)"),
    "batch_norm2d": Case("nn.BatchNorm2d(4)", "nn.BatchNorm2D(4)", IMAGE),
    "batch_norm3d": Case("nn.BatchNorm3d(4)", "nn.BatchNorm3D(4)", VOLUME),
    "batch_norm_plain": Case(
        "nn.BatchNorm2d(4, affine=False)", "nn.BatchNorm2D(4, weight_attr=False, bias_attr=False)", IMAGE
    ),
    # Paddle has no CPU kernel for sync_batch_norm, in either mode; its tensors mean what BatchNorm's do.
    "sync_batch_norm": Case(
        "nn.SyncBatchNorm(4)",
        "nn.SyncBatchNorm(4)",
        IMAGE,
        paddle_call="nn.functional.batch_norm(x, m._mean, m._variance, m.weight, m.bias)",
    ),
    "layer_norm": Case("nn.LayerNorm(4)", "nn.LayerNorm(4)", SEQUENCE),
    "layer_norm_2d": Case("nn.LayerNorm([4, 4])", "nn.LayerNorm([4, 4])", (3, 4, 4), needs_model=True),
    "layer_norm_2d_without_bias": Case(
        "nn.LayerNorm([4, 4], bias=False)",
        "nn.LayerNorm([4, 4], bias_attr=False)",
        (3, 4, 4),
        needs_model=True,
    ),
    "layer_norm_plain": Case(
        "nn.LayerNorm(4, elementwise_affine=False)", "nn.LayerNorm(4, weight_attr=False, bias_attr=False)"
    ),
    "group_norm": Case("nn.GroupNorm(2, 4)", "nn.GroupNorm(2, 4)", IMAGE),
    "instance_norm1d": Case("nn.InstanceNorm1d(4, affine=True)", "nn.InstanceNorm1D(4)", (2, 4, 6)),
    "instance_norm2d": Case("nn.InstanceNorm2d(4, affine=True)", "nn.InstanceNorm2D(4)", IMAGE),
    "instance_norm3d": Case("nn.InstanceNorm3d(4, affine=True)", "nn.InstanceNorm3D(4)", VOLUME),
    "instance_norm_plain": Case(
        "nn.InstanceNorm2d(4)", "nn.InstanceNorm2D(4, weight_attr=False, bias_attr=False)", IMAGE
    ),
    "prelu": Case("nn.PReLU()", "nn.PReLU()"),
    "prelu_of_channels": Case("nn.PReLU(4)", "nn.PReLU(4)"),
    "rnn": _recurrent("RNN"),
    "rnn_relu": _recurrent("RNN", ", nonlinearity='relu'", ", activation='relu'"),
    "rnn_deep": _recurrent("RNN", DEEP, DEEP),
    "rnn_two_ways": _recurrent("RNN", TWO_WAYS, PADDLE_TWO_WAYS),
    "lstm": _recurrent("LSTM"),
    "lstm_deep": _recurrent("LSTM", DEEP, DEEP),
    "lstm_two_ways": _recurrent("LSTM", TWO_WAYS, PADDLE_TWO_WAYS),
    "lstm_proj": _recurrent("LSTM", ", proj_size=3", ", proj_size=3", **_PROJECTED),
    "lstm_proj_deep": _recurrent("LSTM", f", proj_size=3{DEEP}", f", proj_size=3{DEEP}", **_PROJECTED),
    "lstm_proj_two_ways": _recurrent(
        "LSTM", f", proj_size=3{TWO_WAYS}", f", proj_size=3{PADDLE_TWO_WAYS}", **_PROJECTED
    ),
    "gru": _recurrent("GRU"),
    "gru_deep": _recurrent("GRU", DEEP, DEEP),
    "gru_two_ways": _recurrent("GRU", TWO_WAYS, PADDLE_TWO_WAYS),
    "rnn_cell": Case("nn.RNNCell(4, 4)", "nn.SimpleRNNCell(4, 4)", call=FLIPPED, paddle_call=f"{FLIPPED}[0]"),
    "lstm_cell": Case("nn.LSTMCell(4, 4)", "nn.LSTMCell(4, 4)", call="m(x, (x.flip(-1), x))[0]"),
    "gru_cell": Case("nn.GRUCell(4, 4)", "nn.GRUCell(4, 4)", call=FLIPPED, paddle_call=f"{FLIPPED}[0]"),
    "attention": Case(
        "nn.MultiheadAttention(4, 2, batch_first=True)", "nn.MultiHeadAttention(4, 2)", **_ATTENTION
    ),
    "attention_without_bias": Case(
        "nn.MultiheadAttention(4, 2, bias=False, batch_first=True)",
        "nn.MultiHeadAttention(4, 2, bias_attr=False)",
        **_ATTENTION,
    ),
    # Torch packs the weights of the three projections if both sizes are the first one's.
    "attention_of_sizes": Case(
        "nn.MultiheadAttention(4, 2, kdim=4, vdim=3, batch_first=True)",
        "nn.MultiHeadAttention(4, 2, kdim=4, vdim=3)",
        SEQUENCE,
        "m(x, x.flip(1), x[..., 1:])[0]",
        "m(x, x.flip(1), x[..., 1:])",
        needs_model=True,
    ),
    "encoder_layer": Case(
        "nn.TransformerEncoderLayer(4, 2, 4, activation='gelu', batch_first=True)",
        "nn.TransformerEncoderLayer(4, 2, 4, activation='gelu')",
        SEQUENCE,
    ),
    "decoder_layer": Case(
        "nn.TransformerDecoderLayer(4, 2, 4, activation='gelu', batch_first=True)",
        "nn.TransformerDecoderLayer(4, 2, 4, activation='gelu')",
        SEQUENCE,
        BOTH,
    ),
    "encoder": Case(
        "nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 4, activation='gelu', batch_first=True), 2, nn.LayerNorm(4))",
        "nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 4, activation='gelu'), 2, nn.LayerNorm(4))",
        SEQUENCE,
        layers={
            **dict.fromkeys(("layers.0", "layers.1"), "TransformerEncoderLayer"),
            "norm": "LayerNorm",
        },
    ),
    "decoder": Case(
        "nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 4, activation='gelu', batch_first=True), 2, nn.LayerNorm(4))",
        "nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 4, activation='gelu'), 2, nn.LayerNorm(4))",
        SEQUENCE,
        BOTH,
        layers={
            **dict.fromkeys(("layers.0", "layers.1"), "TransformerDecoderLayer"),
            "norm": "LayerNorm",
        },
    ),
    "transformer": Case(
        "nn.Transformer(4, 2, 1, 1, 4, activation='gelu', batch_first=True)",
        "nn.Transformer(4, 2, 1, 1, 4, activation='gelu')",
        SEQUENCE,
        BOTH,
        layers={
            "encoder.layers.0": "TransformerEncoderLayer",
            "decoder.layers.0": "TransformerDecoderLayer",
            **dict.fromkeys(("encoder.norm", "decoder.norm"), "LayerNorm"),
        },
    ),
    "own": Case(
        "Own()",
        "Own()",
        layers={
            "": "Custom",
            "listed": "Custom",
            "embedding": "Embedding",
            "head": "Linear",
            "tail": "Linear",
        },
    ),
}


def _normed() -> Iterator[tuple[str, Case]]:
    """Yield each layer that has a weight to normalise, with every way that Torch has to do it."""
    for name in ("linear", "conv1d", "conv2d", "conv3d", "deconv1d", "deconv2d", "deconv3d"):
        plain = CASES[name]
        # Paddle's dim is an axis of its own weight, and a Linear's axes are the other way round.
        dim = ", dim=1" if name == "linear" else ""
        for kind, more in (("weight", dim), ("spectral", "")):
            paddle = f"utils.{kind}_norm({plain.paddle}{more})"
            for package, old in (("utils", True), ("parametrizations", False)):
                case = Case(f"{package}.{kind}_norm({plain.torch})", paddle, plain.shape, layers=plain.types)
                yield f"{kind}_norm{'' if old else 'ed'}_{name}", replace(case, needs_model=not old)
    for name, dim in (("linear", None), ("deconv2d", 1)):
        plain = CASES[name]
        torch, paddle = (f"utils.weight_norm({built}, dim={dim})" for built in (plain.torch, plain.paddle))
        case = Case(torch, paddle, plain.shape, layers=plain.types, needs_model=dim is not None)
        # Without a dim, Paddle divides by the norm + 1e-12 (python/paddle/nn/utils/weight_norm_hook.py).
        yield f"weight_norm_{name}_{dim}", replace(case, bound=1e-12 if dim else 1e-11)


CASES |= dict(_normed())


def layer_table() -> dict[str, str]:
    """The types of all cases' layers, by path."""
    return {
        f"{name}.{path}".rstrip("."): kind
        for name, case in CASES.items()
        for path, kind in case.types.items()
    }


def torch_model():
    """All cases' Torch modules, by name."""
    import torch
    from torch import nn
    from torch.nn import utils
    from torch.nn.utils import parametrizations

    class Own(nn.Module):
        """Tensors of every kind that are no layer's, and two layers with one weight."""

        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(torch.rand(4, 4))
            self.scalar = nn.Parameter(torch.tensor(0.5))
            self.listed = nn.ParameterList([nn.Parameter(torch.rand(4)) for _ in range(2)])
            self.register_buffer("flags", torch.tensor([True, False, True, True]))
            self.register_buffer("count", torch.tensor([1, 2, 3, 4]))
            self.embedding = nn.Embedding(4, 4)
            self.head, self.tail = (nn.Linear(4, 4, bias=False) for _ in range(2))
            self.tail.weight = self.head.weight

        def forward(self, x):
            y = self.tail(self.head(x @ self.matrix * self.scalar + self.listed[0]) * self.listed[1])
            return torch.where(self.flags, y, 1) * self.count + self.embedding(self.count - 1)[1]

    names = {"nn": nn, "utils": utils, "parametrizations": parametrizations, "Own": Own}
    return nn.ModuleDict({name: eval(case.torch, names) for name, case in CASES.items()})


def paddle_model():
    """All cases' Paddle layers, by name."""
    import paddle
    from paddle import nn
    from paddle.nn import utils

    class Own(nn.Layer):
        def __init__(self):
            super().__init__()
            self.matrix = self.create_parameter([4, 4])
            self.scalar = self.create_parameter([])
            self.listed = nn.ParameterList([self.create_parameter([4]) for _ in range(2)])
            self.register_buffer("flags", paddle.zeros([4], dtype="bool"))
            self.register_buffer("count", paddle.ones([4], dtype="int64"))
            self.embedding = nn.Embedding(4, 4)
            self.head, self.tail = (nn.Linear(4, 4, bias_attr=False) for _ in range(2))
            self.tail.weight = self.head.weight

        def forward(self, x):
            y = self.tail(self.head(x @ self.matrix * self.scalar + self.listed[0]) * self.listed[1])
            y = paddle.where(self.flags, y, paddle.ones_like(y))
            return y * self.count.astype(y.dtype) + self.embedding(self.count - 1)[1]

    names = {"nn": nn, "utils": utils, "Own": Own}
    return nn.LayerDict({name: eval(case.paddle, names) for name, case in CASES.items()})
