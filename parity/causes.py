"""The causes that a finding can name: what each means, and what to change in the port."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CAUSES", "Cause"]


@dataclass(frozen=True)
class Cause:
    """What a cause is called in a sentence, and the change that mends it."""

    says: str
    change: str = ""
    """May use ``{name}``, ``{reference}`` and ``{port}`` of a setting."""


_SET = "set {name} to {reference} (the port has {port})"
CAUSES: dict[str, Cause] = {
    "epsilon": Cause("another epsilon", _SET),
    "momentum": Cause(
        "another momentum (Paddle's weighs the old value, Torch's the new one: 0.9 there is 0.1 here)", _SET
    ),
    "negative_slope": Cause("another slope for negative values", _SET),
    "padding": Cause("another padding", _SET),
    "padding_mode": Cause("another padding mode", _SET),
    "stride": Cause("another stride", _SET),
    "dilation": Cause("another dilation", _SET),
    "groups": Cause("another number of groups", _SET),
    "output_padding": Cause("another output padding", _SET),
    "kernel_size": Cause("another kernel size", _SET),
    "ceil_mode": Cause("another rounding of the output's size", _SET),
    "exclusive": Cause("another way to count padding (exclusive is not count_include_pad)", _SET),
    "align_corners": Cause("another alignment of corners", _SET),
    "align_mode": Cause("another alignment mode", _SET),
    "mode": Cause("another interpolation", _SET),
    "scale": Cause("another scale factor", _SET),
    "approximate": Cause("another form of GELU", _SET),
    "alpha": Cause("another alpha", _SET),
    "beta": Cause("another beta", _SET),
    "minimum": Cause("another lower end", _SET),
    "maximum": Cause("another upper end", _SET),
    "dropout": Cause("another dropout", _SET),
    "dropout_mode": Cause("another dropout mode", _SET),
    "padding_idx": Cause("another padding index", _SET),
    "normalized_shape": Cause("another shape to normalise over", _SET),
    "num_groups": Cause("another number of groups", _SET),
    "num_heads": Cause("another number of heads", _SET),
    "hidden_size": Cause("another hidden size", _SET),
    "num_layers": Cause("another number of layers", _SET),
    "bidirectional": Cause("another number of directions", _SET),
    "batch_first": Cause("another order of batch and time", _SET),
    "axis": Cause("another axis", _SET),
    "norm_first": Cause("another order of attention and normalisation", _SET),
    "activation": Cause("another activation", _SET),
    "mask": Cause("a mask that says the opposite", "invert the mask (logical_not)"),
    "layer_type": Cause("another kind of layer", "use {reference}, not {port}"),
    "use_global_stats": Cause("running statistics used in training", _SET),
    "training": Cause("another mode (train or eval)", "call train() or eval() as the reference does"),
    "reduction": Cause("another reduction of the loss", _SET),
    "label_smoothing": Cause("another label smoothing", _SET),
    "ignore_index": Cause("another ignored index", _SET),
    "softmax_twice": Cause("a cross entropy without its softmax", _SET),
    "delta": Cause("another delta", _SET),
    "is_huber": Cause("a Huber loss for a smooth L1", "pass is_huber=False"),
    "margin": Cause("another margin", _SET),
    "extra_call": Cause("a step that the reference does not take", "leave it out"),
    "missing_call": Cause("a step of the reference that is left out", "add it"),
    "hidden_randomness": Cause(
        "a random number that the other side does not share",
        "put it in the batch, or draw it with a function of the framework that is shared",
    ),
    "random_draw": Cause("random numbers drawn otherwise", "draw what the reference draws, in its order"),
    "transposed": Cause("a weight in the other framework's layout", "transpose it when converting"),
    "axes_swapped": Cause("two axes of a weight swapped", "keep the axes' order when converting"),
    "reversed": Cause("a weight reversed along an axis", "do not reverse it"),
    "lost": Cause("a value lost in loading", "load it"),
    "not_loaded": Cause(
        "a value that loading left as it was", "map its name; set_state_dict skips what it does not know"
    ),
    "swapped": Cause("the value of another tensor", "load each tensor under its own name"),
    "half_precision": Cause("a value rounded to 16 bits", "convert without a cast"),
    "gate_order": Cause("gates in another order", "keep the order of the gates"),
    "scaled": Cause("a value scaled by a factor", "leave the factor out"),
    "shifted": Cause("a value scaled and shifted", "leave that out"),
    "permuted": Cause("slices in another order", "keep their order"),
    "detached": Cause(
        "a gradient cut off", "let the gradient pass (no detach, no stop_gradient, no no_grad)"
    ),
    "create_graph": Cause("a gradient that is taken with, or without, a graph of its own", _SET),
    "not_detached": Cause(
        "a gradient that the reference cuts off", "cut it off (detach) as the reference does"
    ),
    "tying": Cause(
        "a parameter of its own where the other side shares one", "share it as the reference does"
    ),
    "untying": Cause("a parameter shared", "give each layer its own, as the reference does"),
    "frozen": Cause("a parameter that is not trained", "let it train (stop_gradient=False)"),
    "not_cleared": Cause("gradients left to add up", "clear them where the reference does"),
    "cleared": Cause("gradients cleared that the reference keeps", "do not clear them there"),
    "scaled_gradient": Cause("all gradients scaled by a factor", "leave the factor out"),
    "missing_all_reduce": Cause(
        "gradients that are not averaged over the processes",
        "call the network through {name}, and run the last backward outside of no_sync",
    ),
    "processes_apart": Cause(
        "parameters that are not the same in all processes", "let every process start and step alike"
    ),
    "optimizer_type": Cause("another optimizer", "use {reference}, not {port}"),
    "learning_rate": Cause("another learning rate", _SET),
    "beta1": Cause("another beta1", _SET),
    "beta2": Cause("another beta2", _SET),
    "optimizer_epsilon": Cause("another epsilon in the optimizer", _SET),
    "weight_decay": Cause("another weight decay", _SET),
    "decoupled_decay": Cause(
        "weight decay of the other kind (Adam adds it to the gradient, AdamW takes it from the weights)",
        "use Adam for L2 decay and AdamW for decoupled decay",
    ),
    "clipping": Cause("another clipping of gradients", _SET),
    "amsgrad": Cause("another variant of Adam", _SET),
    "momentum_decay": Cause("another decay of the momentum", _SET),
    "initial_accumulator": Cause("another value that the state begins at", _SET),
    "etas": Cause("other factors of the step's size", _SET),
    "step_sizes": Cause("other bounds of the step's size", _SET),
    "nesterov": Cause("another kind of momentum", _SET),
    "rho": Cause("another smoothing constant", _SET),
    "centered": Cause("another variant of RMSProp", _SET),
    "optimizer_parameters": Cause("other parameters in the optimizer", "give it the reference's"),
    "not_stepped": Cause("an optimizer that does not step", "step it where the reference does"),
    "stepped_twice": Cause("an optimizer that steps too often", "step it as often as the reference"),
    "order": Cause("the parts of the training step in another order", "keep the reference's order"),
    "schedule": Cause("another schedule", _SET),
    "loss_function": Cause("another loss function", "use {reference}, not {port}"),
    "loss_weight": Cause("another weight of a loss term", "give the term the reference's weight"),
    "loss_term": Cause("a loss term that does not count", "add it to the loss"),
    "target": Cause("another target", "give the loss the reference's target"),
    "channel_order": Cause("channels in another order", "keep the channels' order"),
    "input_scale": Cause("an input scaled by a factor", "leave the factor out"),
    "input_shift": Cause("an input scaled and shifted", "leave that out"),
    "flipped": Cause("an input moved or mirrored", "leave it as it is"),
    "shuffled": Cause("samples in another order", "keep their order"),
    "inputs_swapped": Cause("another of the batch's inputs", "use the input that the reference uses"),
    "input_precision": Cause("an input rounded to 16 bits", "do not cast it"),
    "biased_variance": Cause("Paddle's running variance is the biased one"),
    "bce_at_zero": Cause("Paddle's gradient of BCE with logits at a logit of exactly 0"),
    "ignored_rows": Cause("Paddle's cross entropy divides by all rows where ignore_index is negative"),
    "rmsprop_epsilon": Cause("Paddle's RMSProp adds epsilon under the root"),
    "adamax_epsilon": Cause("Paddle's Adamax adds epsilon to another term"),
    "autocast": Cause("another automatic cast to fewer bits"),
    "slope_at_zero": Cause("Paddle's gradient of LeakyReLU at exactly 0 is 1, Torch's the slope"),
    "pool_gradient": Cause("Paddle's gradient of an average takes 1/n as a float32"),
    "norm_gradient": Cause("Paddle's gradient of a norm is divided by the norm plus 1e-12"),
    "tie_gradient": Cause("Paddle shares the gradient of a maximum among ties, Torch gives it to one"),
}
