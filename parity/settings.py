"""What layers, functions, optimizers and schedulers are set to, in one vocabulary for both frameworks.

Each row of a table says how one setting is read from Torch's names and from Paddle's, in such a way that
equal values mean the same computation. The names and defaults are those of the frameworks' own
signatures (torch 2.13, paddle 3.3); conventions that differ (BatchNorm's momentum, ``exclusive``) are
converted. What a table does not know is not compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parity.pair import Framework

__all__ = [
    "LAYERS",
    "OPTIMIZERS",
    "SAME_RATE",
    "SCHEDULERS",
    "Difference",
    "Setting",
    "differences",
]

Reader = str | Callable[[Mapping[str, Any]], Any]
_UNKNOWN = object()
SAME_RATE = 1e-6
"""How closely, relatively, rates of learning and decay must agree."""


@dataclass(frozen=True)
class Setting:
    """One setting: the cause that a difference in it is called, and how each framework keeps it."""

    cause: str
    torch: Reader
    paddle: Reader

    def read(self, framework: Framework, settings: Mapping[str, Any]) -> Any:
        """Return the value in the common vocabulary, or a marker where it is not to be had."""
        reader = self.torch if framework == "torch" else self.paddle
        try:
            value = settings[reader] if isinstance(reader, str) else reader(settings)
        except (KeyError, TypeError, IndexError, AttributeError, StopIteration):
            return _UNKNOWN
        return _even(value)

    def named(self, framework: Framework) -> str:
        """Return the framework's own name of the setting, where it has one."""
        reader = self.torch if framework == "torch" else self.paddle
        return reader.lstrip("_") if isinstance(reader, str) else self.cause


@dataclass(frozen=True)
class Difference:
    """A setting that the two sides do not share, in the common vocabulary."""

    cause: str
    reference: Any
    port: Any
    name: str
    """What the port's framework calls it."""
    certain: bool = True
    """False where the two may be the same in effect: a size against a rule that gives one."""


def _even(value: Any) -> Any:
    """Make one form of the many in which frameworks keep sizes: (2, 2), [2, 2] and 2 are the same."""
    if isinstance(value, (list, tuple)):
        items = [_even(item) for item in value]
        return items[0] if items and all(item == items[0] for item in items) else items
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    return float(value)


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        # Frameworks keep some settings as float32; a setting closer than that is the same number.
        return math.isclose(first, second, rel_tol=2.0**-23, abs_tol=0.0) or first == second
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second) and isinstance(first, bool) == isinstance(second, bool)


def differences(
    table: Sequence[Setting],
    frameworks: tuple[Framework, Framework],
    reference: Mapping[str, Any],
    port: Mapping[str, Any],
) -> list[Difference]:
    """Compare two sides' settings of one thing by a table's rows."""
    found = []
    for row in table:
        first, second = row.read(frameworks[0], reference), row.read(frameworks[1], port)
        if first is not _UNKNOWN and second is not _UNKNOWN and not _same(first, second):
            certain = isinstance(first, str) == isinstance(second, str) or row.cause != "padding"
            found.append(Difference(row.cause, first, second, row.named(frameworks[1]), certain))
    return found


def _get(name: str, default: Any = None) -> Callable[[Mapping[str, Any]], Any]:
    return lambda settings: settings.get(name, default)


def _flag(name: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda settings: bool(settings[name])


def _stride(stride: str, size: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda settings: settings[size] if settings.get(stride) is None else settings[stride]


def _axes(*names: str) -> Callable[[Mapping[str, Any]], Any]:
    """Read axes, counted from the front and in order; not to be had where only the rank would tell."""

    def read(settings: Mapping[str, Any]) -> Any:
        given = next(settings[name] for name in names if name in settings)
        axes = range(settings["rank"]) if given is None else given if isinstance(given, list) else [given]
        return sorted(axis + settings["rank"] if axis < 0 else axis for axis in axes)

    return read


def _sizes(value: Any, count: int) -> list[Any]:
    return value if isinstance(value, list) else [value] * count


def _padding(prefix: str) -> Callable[[Mapping[str, Any]], Any]:
    """Read a convolution's padding as one size a dimension (or pairs), where it comes to that.

    ``SAME`` without strides adds d (k - 1) in all; Paddle also takes a size for each end, flat or in
    pairs, with or without the dimensions of batch and channels (paddle/nn/functional/conv.py).
    """

    def read(settings: Mapping[str, Any]) -> Any:
        padding, kernel = settings[f"{prefix}padding"], settings[f"{prefix}kernel_size"]
        kernel = _sizes(kernel, 1)
        count = len(kernel)
        if isinstance(padding, str):
            strides, dilations = (
                _sizes(settings[f"{prefix}{name}"], count) for name in ("stride", "dilation")
            )
            whole = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
            rule = padding.upper()
            if rule == "VALID":
                return 0
            return (
                [each // 2 for each in whole] if {*strides} == {1} and not any(w % 2 for w in whole) else rule
            )
        if isinstance(padding, list) and isinstance(padding[0], list):
            padding = [end for pair in padding[-count:] for end in pair]
        if isinstance(padding, list) and len(padding) == 2 * count:
            pairs = [list(pair) for pair in zip(padding[::2], padding[1::2], strict=True)]
            return [pair[0] for pair in pairs] if all(a == b for a, b in pairs) else pairs
        return padding

    return read


_EPSILON = Setting("epsilon", "eps", "_epsilon")
_CONVOLUTION = (
    Setting("stride", "stride", "_stride"),
    Setting("padding", _padding(""), _padding("_")),
    Setting("dilation", "dilation", "_dilation"),
    Setting("groups", "groups", "_groups"),
    Setting("padding_mode", "padding_mode", "_padding_mode"),
)
_BATCH_NORM = (
    _EPSILON,
    Setting(
        "momentum",
        lambda s: s["momentum"] if s["momentum"] is None else 1.0 - s["momentum"],
        "_momentum",
    ),
    Setting("use_global_stats", lambda s: not s["track_running_stats"], _flag("_use_global_stats")),
)
_REDUCTION = Setting("reduction", "reduction", "reduction")
_POOL = (
    Setting("kernel_size", "kernel_size", lambda s: s["ksize"] if "ksize" in s else s["kernel_size"]),
    Setting(
        "stride",
        _stride("stride", "kernel_size"),
        lambda s: _stride("stride", "ksize" if "ksize" in s else "kernel_size")(s),
    ),
    Setting("padding", "padding", "padding"),
    Setting("ceil_mode", "ceil_mode", "ceil_mode"),
)
_AVERAGE = (*_POOL, Setting("exclusive", lambda s: not s["count_include_pad"], "exclusive"))
_RESIZE = (
    Setting("mode", "mode", lambda s: s["mode"].lower()),
    Setting("align_corners", _flag("align_corners"), _flag("align_corners")),
    Setting("scale", "scale_factor", "scale_factor"),
    Setting("align_mode", lambda s: 0, lambda s: s["align_mode"] if "linear" in s["mode"].lower() else 0),
)
_CROSS_ENTROPY = (
    _REDUCTION,
    Setting("label_smoothing", "label_smoothing", "label_smoothing"),
    Setting("ignore_index", "ignore_index", "ignore_index"),
    Setting("softmax_twice", lambda s: True, _get("use_softmax", True)),
)
_SMOOTH_L1 = (
    _REDUCTION,
    Setting("delta", "beta", "delta"),
    Setting("is_huber", lambda s: s["beta"] == 1.0 or False, lambda s: s["delta"] == 1.0 or s["is_huber"]),
)
_RECURRENT = tuple(
    Setting(cause, torch, paddle)
    for cause, torch, paddle in (
        ("hidden_size", "hidden_size", "hidden_size"),
        ("num_layers", "num_layers", "num_layers"),
        ("bidirectional", "bidirectional", lambda s: s["num_directions"] == 2),
        ("batch_first", "batch_first", lambda s: not s["time_major"]),
        ("dropout", "dropout", "dropout"),
    )
)
_DROPOUT = (
    Setting("dropout", "p", "p"),
    Setting("dropout_mode", lambda s: "upscale_in_train", _get("mode", "upscale_in_train")),
)
_MARGIN = (_REDUCTION, Setting("margin", "margin", "margin"))

LAYERS: dict[str, tuple[Setting, ...]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _CONVOLUTION),
    **dict.fromkeys(
        ("conv1d_transpose", "conv2d_transpose", "conv3d_transpose"),
        (*_CONVOLUTION, Setting("output_padding", "output_padding", "output_padding")),
    ),
    **dict.fromkeys(("batchnorm1d", "batchnorm2d", "batchnorm3d", "syncbatchnorm"), _BATCH_NORM),
    **dict.fromkeys(("instancenorm1d", "instancenorm2d", "instancenorm3d"), (_EPSILON,)),
    "layernorm": (_EPSILON, Setting("normalized_shape", "normalized_shape", "_normalized_shape")),
    "groupnorm": (_EPSILON, Setting("num_groups", "num_groups", "_num_groups")),
    "leakyrelu": (Setting("negative_slope", "negative_slope", "_negative_slope"),),
    "leaky_relu": (Setting("negative_slope", "negative_slope", "negative_slope"),),
    **dict.fromkeys(("elu", "celu"), (Setting("alpha", "alpha", lambda s: s.get("_alpha", s.get("alpha"))),)),
    "gelu": (
        Setting(
            "approximate",
            lambda s: s["approximate"] == "tanh",
            lambda s: bool(s.get("_approximate", s.get("approximate"))),
        ),
    ),
    "softplus": (Setting("beta", "beta", lambda s: s.get("_beta", s.get("beta"))),),
    **dict.fromkeys(
        ("softmax", "logsoftmax", "log_softmax"),
        (Setting("axis", _axes("dim"), _axes("_axis", "axis")),),
    ),
    "hardtanh": (Setting("minimum", "min_val", "_min"), Setting("maximum", "max_val", "_max")),
    **dict.fromkeys(("maxpool1d", "maxpool2d", "maxpool3d", "max_pool2d"), _POOL),
    **dict.fromkeys(("avgpool1d", "avgpool2d", "avgpool3d", "avg_pool2d"), _AVERAGE),
    **dict.fromkeys(("upsample", "interpolate"), _RESIZE),
    **dict.fromkeys(
        ("grid_sample", "affine_grid"),
        (Setting("align_corners", _flag("align_corners"), _flag("align_corners")),),
    ),
    **dict.fromkeys(("dropout", "dropout2d", "dropout3d"), _DROPOUT),
    "embedding": (
        Setting(
            "padding_idx", "padding_idx", lambda s: s["_padding_idx"] if s["_padding_idx"] != -1 else None
        ),
    ),
    **dict.fromkeys(("lstm", "gru", "rnn"), _RECURRENT),
    "transformerencoderlayer": (
        Setting("norm_first", _flag("norm_first"), _flag("normalize_before")),
        Setting("activation", lambda s: {1: "relu", 2: "gelu"}[s["activation_relu_or_gelu"]], "activation"),
    ),
    "multiheadattention": (
        Setting("num_heads", "num_heads", "num_heads"),
        Setting("dropout", "dropout", "dropout"),
    ),
    **dict.fromkeys(("mse_loss", "l1_loss", "binary_cross_entropy", "kl_div"), (_REDUCTION,)),
    "binary_cross_entropy_with_logits": (_REDUCTION,),
    "nll_loss": (
        Setting("reduction", "reduction", lambda s: s.get("_reduction", s.get("reduction"))),
        Setting("ignore_index", "ignore_index", lambda s: s.get("_ignore_index", s.get("ignore_index"))),
    ),
    "cross_entropy": _CROSS_ENTROPY,
    "smooth_l1_loss": _SMOOTH_L1,
    **dict.fromkeys(("hinge_embedding_loss", "margin_ranking_loss"), _MARGIN),
    "pad": (Setting("padding_mode", "mode", "mode"), Setting("padding", "pad", "pad")),
    **dict.fromkeys(("mean", "sum"), (Setting("axis", _axes("dim", "1"), _axes("axis")),)),
    "grad": (Setting("create_graph", "create_graph", "create_graph"),),
}
"""By kind of layer or function, as `kind_of` and `operation_of` give it."""


def _beta(position: int) -> Callable[[Mapping[str, Any]], Any]:
    return lambda settings: settings["betas"][position]


def _decoupled(settings: Mapping[str, Any]) -> bool:
    if not settings.get("weight_decay"):
        raise KeyError("without decay there is nothing to decouple")
    return settings["class"] == "AdamW" or bool(settings.get("decoupled_weight_decay"))


def _penalty(settings: Mapping[str, Any]) -> str:
    """Return the penalty that weight decay stands for, by Paddle's names, where there is one."""
    if not settings["weight_decay"] or settings.get("decoupled_weight_decay"):
        raise KeyError("no penalty in the gradient")
    return "L2Decay"


_FAMILY = {"adamw": "adam", "momentum": "sgd", "rmsprop": "rmsprop"}


def _family(settings: Mapping[str, Any]) -> str:
    name = str(settings["class"]).lower()
    return _FAMILY.get(name, name)


OPTIMIZERS = (
    Setting("optimizer_type", _family, _family),
    Setting("learning_rate", "lr", "lr"),
    Setting("beta1", _beta(0), "_beta1"),
    Setting("beta2", _beta(1), "_beta2"),
    Setting("optimizer_epsilon", "eps", "_epsilon"),
    Setting("weight_decay", "weight_decay", _get("weight_decay", 0.0)),
    Setting("decoupled_decay", _decoupled, _decoupled),
    Setting("weight_decay", _penalty, lambda s: s["regularizer"]),
    Setting("amsgrad", _flag("amsgrad"), _flag("_amsgrad")),
    Setting("momentum", "momentum", _get("_momentum", 0.0)),
    Setting("nesterov", _flag("nesterov"), lambda s: bool(s.get("_use_nesterov", False))),
    Setting("rho", lambda s: s["alpha"] if "alpha" in s else s["rho"], "_rho"),
    Setting("momentum_decay", "momentum_decay", "_momentum_decay"),
    Setting("initial_accumulator", "initial_accumulator_value", "initial_accumulator_value"),
    Setting("etas", "etas", "_etas"),
    Setting("step_sizes", "step_sizes", "_learning_rate_range"),
    Setting("centered", _flag("centered"), _flag("_centered")),
    Setting("clipping", _get("clip", "none"), _get("clip", "none")),
)
_SCHEDULER_CLASS = {
    "steplr": "stepdecay",
    "multisteplr": "multistepdecay",
    "exponentiallr": "exponentialdecay",
    "cosineannealinglr": "cosineannealingdecay",
    "lambdalr": "lambdadecay",
    "linearlr": "linearlr",
}


def _scheduler(settings: Mapping[str, Any]) -> str:
    name = str(settings["class"]).lower()
    return _SCHEDULER_CLASS.get(name, name)


SCHEDULERS = (
    Setting("schedule", _scheduler, _scheduler),
    Setting("schedule", "gamma", "gamma"),
    Setting("schedule", "step_size", "step_size"),
    Setting("schedule", "milestones", "milestones"),
    Setting("schedule", "T_max", "T_max"),
    Setting("schedule", "eta_min", "eta_min"),
    Setting("schedule", lambda s: s["base_lrs"][0], "base_lr"),
)
