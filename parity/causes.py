"""The causes that a finding can name: what each means, and what to change in the port."""

from __future__ import annotations

from dataclasses import dataclass

from converter.messages import Message, say

__all__ = ["CAUSES", "Cause"]

_NOTHING = Message("")


@dataclass(frozen=True)
class Cause:
    """What a cause is called in a sentence, and the change that mends it."""

    says: Message
    change: Message = _NOTHING
    """May use ``{name}``, ``{reference}`` and ``{port}`` of a setting."""


_SET = say("set {name} to {reference} (the port has {port})")
CAUSES: dict[str, Cause] = {
    "epsilon": Cause(say("another epsilon"), _SET),
    "momentum": Cause(
        say("another momentum (Paddle's weighs the old value, Torch's the new one: 0.9 there is 0.1 here)"),
        _SET,
    ),
    "negative_slope": Cause(say("another slope for negative values"), _SET),
    "padding": Cause(say("another padding"), _SET),
    "padding_mode": Cause(say("another padding mode"), _SET),
    "stride": Cause(say("another stride"), _SET),
    "dilation": Cause(say("another dilation"), _SET),
    "groups": Cause(say("another number of groups"), _SET),
    "output_padding": Cause(say("another output padding"), _SET),
    "kernel_size": Cause(say("another kernel size"), _SET),
    "ceil_mode": Cause(say("another rounding of the output's size"), _SET),
    "exclusive": Cause(say("another way to count padding (exclusive is not count_include_pad)"), _SET),
    "align_corners": Cause(say("another alignment of corners"), _SET),
    "align_mode": Cause(say("another alignment mode"), _SET),
    "mode": Cause(say("another interpolation"), _SET),
    "scale": Cause(say("another scale factor"), _SET),
    "approximate": Cause(say("another form of GELU"), _SET),
    "alpha": Cause(say("another alpha"), _SET),
    "beta": Cause(say("another beta"), _SET),
    "minimum": Cause(say("another lower end"), _SET),
    "maximum": Cause(say("another upper end"), _SET),
    "dropout": Cause(say("another dropout"), _SET),
    "dropout_mode": Cause(say("another dropout mode"), _SET),
    "padding_idx": Cause(say("another padding index"), _SET),
    "normalized_shape": Cause(say("another shape to normalise over"), _SET),
    "num_groups": Cause(say("another number of groups"), _SET),
    "num_heads": Cause(say("another number of heads"), _SET),
    "hidden_size": Cause(say("another hidden size"), _SET),
    "num_layers": Cause(say("another number of layers"), _SET),
    "bidirectional": Cause(say("another number of directions"), _SET),
    "batch_first": Cause(say("another order of batch and time"), _SET),
    "axis": Cause(say("another axis"), _SET),
    "norm_first": Cause(say("another order of attention and normalisation"), _SET),
    "activation": Cause(say("another activation"), _SET),
    "mask": Cause(say("a mask that says the opposite"), say("invert the mask (logical_not)")),
    "layer_type": Cause(say("another kind of layer"), say("use {reference}, not {port}")),
    "use_global_stats": Cause(say("running statistics used in training"), _SET),
    "training": Cause(
        say("another mode (train or eval)"), say("call train() or eval() as the reference does")
    ),
    "reduction": Cause(say("another reduction of the loss"), _SET),
    "label_smoothing": Cause(say("another label smoothing"), _SET),
    "ignore_index": Cause(say("another ignored index"), _SET),
    "softmax_twice": Cause(say("a cross entropy without its softmax"), _SET),
    "delta": Cause(say("another delta"), _SET),
    "is_huber": Cause(say("a Huber loss for a smooth L1"), say("pass is_huber=False")),
    "margin": Cause(say("another margin"), _SET),
    "extra_call": Cause(say("a step that the reference does not take"), say("leave it out")),
    "missing_call": Cause(say("a step of the reference that is left out"), say("add it")),
    "hidden_randomness": Cause(
        say("a random number that the other side does not share"),
        say("put it in the batch, or draw it with a function of the framework that is shared"),
    ),
    "random_draw": Cause(
        say("random numbers drawn otherwise"), say("draw what the reference draws, in its order")
    ),
    "transposed": Cause(say("a weight in the other framework's layout"), say("transpose it when converting")),
    "axes_swapped": Cause(say("two axes of a weight swapped"), say("keep the axes' order when converting")),
    "reversed": Cause(say("a weight reversed along an axis"), say("do not reverse it")),
    "lost": Cause(say("a value lost in loading"), say("load it")),
    "not_loaded": Cause(
        say("a value that loading left as it was"),
        say("map its name; set_state_dict skips what it does not know"),
    ),
    "swapped": Cause(say("the value of another tensor"), say("load each tensor under its own name")),
    "half_precision": Cause(say("a value rounded to 16 bits"), say("convert without a cast")),
    "gate_order": Cause(say("gates in another order"), say("keep the order of the gates")),
    "scaled": Cause(say("a value scaled by a factor"), say("leave the factor out")),
    "shifted": Cause(say("a value scaled and shifted"), say("leave that out")),
    "permuted": Cause(say("slices in another order"), say("keep their order")),
    "detached": Cause(
        say("a gradient cut off"), say("let the gradient pass (no detach, no stop_gradient, no no_grad)")
    ),
    "create_graph": Cause(say("a gradient that is taken with, or without, a graph of its own"), _SET),
    "not_detached": Cause(
        say("a gradient that the reference cuts off"), say("cut it off (detach) as the reference does")
    ),
    "tying": Cause(
        say("a parameter of its own where the other side shares one"), say("share it as the reference does")
    ),
    "untying": Cause(say("a parameter shared"), say("give each layer its own, as the reference does")),
    "frozen": Cause(say("a parameter that is not trained"), say("let it train (stop_gradient=False)")),
    "not_cleared": Cause(say("gradients left to add up"), say("clear them where the reference does")),
    "cleared": Cause(say("gradients cleared that the reference keeps"), say("do not clear them there")),
    "scaled_gradient": Cause(say("all gradients scaled by a factor"), say("leave the factor out")),
    "missing_all_reduce": Cause(
        say("gradients that are not averaged over the processes"),
        say("call the network through {name}, and run the last backward outside of no_sync"),
    ),
    "processes_apart": Cause(
        say("parameters that are not the same in all processes"),
        say("let every process start and step alike"),
    ),
    "optimizer_type": Cause(say("another optimizer"), say("use {reference}, not {port}")),
    "learning_rate": Cause(say("another learning rate"), _SET),
    "beta1": Cause(say("another beta1"), _SET),
    "beta2": Cause(say("another beta2"), _SET),
    "optimizer_epsilon": Cause(say("another epsilon in the optimizer"), _SET),
    "weight_decay": Cause(say("another weight decay"), _SET),
    "decoupled_decay": Cause(
        say("weight decay of the other kind (Adam adds it to the gradient, AdamW takes it from the weights)"),
        say("use Adam for L2 decay and AdamW for decoupled decay"),
    ),
    "clipping": Cause(say("another clipping of gradients"), _SET),
    "amsgrad": Cause(say("another variant of Adam"), _SET),
    "momentum_decay": Cause(say("another decay of the momentum"), _SET),
    "initial_accumulator": Cause(say("another value that the state begins at"), _SET),
    "etas": Cause(say("other factors of the step's size"), _SET),
    "step_sizes": Cause(say("other bounds of the step's size"), _SET),
    "nesterov": Cause(say("another kind of momentum"), _SET),
    "rho": Cause(say("another smoothing constant"), _SET),
    "centered": Cause(say("another variant of RMSProp"), _SET),
    "optimizer_parameters": Cause(say("other parameters in the optimizer"), say("give it the reference's")),
    "not_stepped": Cause(say("an optimizer that does not step"), say("step it where the reference does")),
    "stepped_twice": Cause(
        say("an optimizer that steps too often"), say("step it as often as the reference")
    ),
    "order": Cause(say("the parts of the training step in another order"), say("keep the reference's order")),
    "schedule": Cause(say("another schedule"), _SET),
    "loss_function": Cause(say("another loss function"), say("use {reference}, not {port}")),
    "loss_weight": Cause(say("another weight of a loss term"), say("give the term the reference's weight")),
    "loss_term": Cause(say("a loss term that does not count"), say("add it to the loss")),
    "target": Cause(say("another target"), say("give the loss the reference's target")),
    "channel_order": Cause(say("channels in another order"), say("keep the channels' order")),
    "input_scale": Cause(say("an input scaled by a factor"), say("leave the factor out")),
    "input_shift": Cause(say("an input scaled and shifted"), say("leave that out")),
    "flipped": Cause(say("an input moved or mirrored"), say("leave it as it is")),
    "shuffled": Cause(say("samples in another order"), say("keep their order")),
    "inputs_swapped": Cause(
        say("another of the batch's inputs"), say("use the input that the reference uses")
    ),
    "input_precision": Cause(say("an input rounded to 16 bits"), say("do not cast it")),
    "biased_variance": Cause(say("Paddle's running variance is the biased one")),
    "bce_at_zero": Cause(say("Paddle's gradient of BCE with logits at a logit of exactly 0")),
    "ignored_rows": Cause(say("Paddle's cross entropy divides by all rows where ignore_index is negative")),
    "rmsprop_epsilon": Cause(say("Paddle's RMSProp adds epsilon under the root")),
    "adamax_epsilon": Cause(say("Paddle's Adamax adds epsilon to another term")),
    "autocast": Cause(say("another automatic cast to fewer bits")),
    "slope_at_zero": Cause(say("Paddle's gradient of LeakyReLU at exactly 0 is 1, Torch's the slope")),
    "pool_gradient": Cause(say("Paddle's gradient of an average takes 1/n as a float32")),
    "norm_gradient": Cause(say("Paddle's gradient of a norm is divided by the norm plus 1e-12")),
    "tie_gradient": Cause(say("Paddle shares the gradient of a maximum among ties, Torch gives it to one")),
}
