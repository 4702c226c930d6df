"""The mistakes planted in the second net, and the cases of known framework differences (see `catalogue`)."""

from tests.defects.defect import Defect

NORMS = ("net.encoder.norm", "net.encoder.block.norm")
RUNNING = tuple(f"{norm}.running_{name}" for norm in NORMS for name in ("mean", "var"))
WEIGHTS = ("net.*.weight", "net.*.bias", "net.*_l0")
OPTIMIZER = "optimizers.main"
SCHEDULER = ("schedulers.main", "optimizers.main")
CE = ("step/cross_entropy", "losses.classification")
L1 = ("step/l1_loss", "losses.reconstruction")
IMAGE = "inputs.image"


def _defect(kind, name, says, where, causes, options=None, **rest):
    """Take a single word for a tuple of one."""
    where, causes = ((each,) if isinstance(each, str) else tuple(each) for each in (where, causes))
    return Defect(f"mx-{name}", "mixed", kind, says, where, causes, options or {}, **rest)


CONVERTER = (
    ("fc-untransposed", "a square Linear is not transposed", "net.text.fc.weight", "transposed"),
    (
        "linears-untransposed",
        "shape decides what is transposed: square Linears are not, the square Embedding is",
        ("net.text.attention.*.weight", "net.text.fc.weight", "net.text.embedding.weight"),
        "transposed",
    ),
    ("embedding-transposed", "a square Embedding is transposed", "net.text.embedding.weight", "transposed"),
    ("stem-bias-lost", "a convolution's bias before BatchNorm is zero", "net.encoder.stem.bias", "lost"),
    (
        "stem-bias-kept",
        "a convolution's bias before BatchNorm is not loaded",
        "net.encoder.stem.bias",
        ("not_loaded", "lost"),
    ),
    ("statistics-lost", "running statistics are not mapped, and skipped", RUNNING, "not_loaded"),
    ("gates", "the LSTM's gates are in the order i, f, o, g", "net.text.lstm.*", ("gate_order", "permuted")),
    ("lstm-biases-swapped", "the LSTM's two biases are swapped", "net.text.lstm.bias_*", "swapped"),
    ("q-and-k-swapped", "queries and keys have each other's weights", "net.text.attention.[qk].*", "swapped"),
    (
        "deconvolution-reversed",
        "the input channels of the transposed convolution are reversed",
        "net.decoder.deconv.weight",
        "reversed",
    ),
    (
        "down-in-and-out",
        "a convolution's input and output channels are swapped",
        "net.encoder.down.weight",
        "axes_swapped",
    ),
    ("embedding-row-lost", "one row of the Embedding is zero", "net.text.embedding.weight", "lost"),
    ("half", "all weights went through float16", WEIGHTS + RUNNING, "half_precision"),
    ("bfloat16-head", "the head's weights went through bfloat16", "net.head.*", "half_precision"),
    (
        "q-is-k",
        "queries and keys are one Linear",
        ("net.text.attention.q.*", "net.text.attention.k.*", "net.text.attention.?", OPTIMIZER),
        ("swapped", "optimizer_parameters", "untying"),
    ),
)
MODEL = (
    ("bn-momentum", "both BatchNorms have Torch's momentum in Paddle's convention", NORMS, "momentum"),
    ("bn-epsilon", "both BatchNorms' epsilon is 1e-3", NORMS, "epsilon"),
    ("bn-epsilon-near", "both BatchNorms' epsilon is 1.01e-5", NORMS, "epsilon"),
    (
        "bn-frozen",
        "one BatchNorm is in eval mode",
        "net.encoder.block.norm",
        ("training", "use_global_stats"),
    ),
    ("slope", "the LeakyReLU has the default slope", "net.encoder.act", "negative_slope"),
    ("layer-norm-epsilon", "the LayerNorm's epsilon is 1e-6", "net.text.norm", "epsilon"),
    ("pool-exclusive", "the average excludes the padding, Paddle's default", "net.encoder.pool", "exclusive"),
    ("pool-max", "the maximum, not the average, is pooled", "net.encoder.pool", "layer_type"),
    ("gelu-tanh", "GELU is approximated by tanh", "net.text.act", "approximate"),
    ("relu-for-gelu", "ReLU for GELU", "net.text.act", "layer_type"),
    ("align-corners", "interpolation aligns corners", "net.decoder/interpolate", "align_corners"),
    ("align-mode", "interpolation has align_mode 1", "net.decoder/interpolate", "align_mode"),
    ("nearest", "interpolation by the nearest", "net.decoder/interpolate", "mode"),
    ("bicubic", "bicubic interpolation", "net.decoder/interpolate", "mode"),
    ("dropout", "dropout of 0.1", "net.text.dropout", "dropout"),
    ("sigmoid-for-tanh", "Sigmoid for Tanh", "net.decoder.act", "layer_type"),
    ("activation-missing", "the block's activation is left out", "net.encoder.block.act", "missing_call"),
    ("padding-mode", "one convolution pads by replication", "net.encoder.down", "padding_mode"),
    ("same-padding", "one convolution pads as TensorFlow does", "net.encoder.down", "padding"),
    (
        "block-dilated",
        "the block's convolution is dilated",
        "net.encoder.block.conv",
        ("dilation", "padding"),
    ),
    ("softmax-axis", "the softmax is over the queries", "net.text.attention/softmax", "axis"),
    ("softmax-missing", "the softmax is left out", "net.text.attention/softmax", "missing_call"),
    (
        "scale-missing",
        "the scores are not scaled",
        ("net.text.attention/softmax", "net.text.attention/matmul", "net.text.attention"),
        ("scaled", "input_scale", "loss_weight"),
    ),
    ("padding-idx", "padding_idx makes the row of a used token zero", "net.text.embedding", "padding_idx"),
    ("padding-idx-unused", "padding_idx is a token that is not used", "net.text.embedding", "padding_idx"),
    ("eval-activation-missing", "the Tanh is left out in evaluation", "net.decoder.act", "missing_call"),
    ("eval-nearest", "evaluation interpolates by the nearest", "net.decoder/interpolate", "mode"),
    (
        "eval-attention-dropped",
        "evaluation leaves the attention's output projection out",
        ("net.text.attention.out", "net.text.norm"),
        ("missing_call", "extra_call"),
    ),
    ("time-major", "the LSTM takes the batch for the time", "net.text.lstm", "batch_first"),
    (
        "residual-missing",
        "the residual is not added",
        ("net.encoder.down", "net.encoder.block", "net.encoder.block/add"),
        ("missing_call", "extra_call"),
    ),
    (
        "residual-detached",
        "the residual branch gives no gradient",
        ("net.encoder.block/detach", "net.encoder.block.act"),
        ("detached", "extra_call"),
    ),
    (
        "embedding-detached",
        "the Embedding gets no gradient",
        ("net.text/detach", "net.text.embedding", "net.text.embedding.weight"),
        ("detached", "extra_call"),
    ),
    (
        "lstm-without-gradient",
        "the LSTM runs under no_grad",
        ("net.text.lstm", "net.text.lstm.*"),
        "detached",
    ),
    ("norm-weight-frozen", "a BatchNorm's weight does not train", "net.encoder.norm.weight", "frozen"),
    ("embedding-frozen", "the Embedding does not train", "net.text.embedding.weight", "frozen"),
)
LOSS = (
    ("mse-for-l1", "MSE for L1", (*L1, "step/mse_loss"), "loss_function"),
    ("smooth-l1-for-l1", "smooth L1 for L1", (*L1, "step/smooth_l1_loss"), "loss_function"),
    ("l1-sum", "the L1 is a sum", L1, "reduction"),
    ("loss-weight", "the reconstruction weighs 9.999", ("losses.total", "step/l1_loss"), "loss_weight"),
    (
        "loss-term-missing",
        "the classification does not count",
        ("losses.total", "step/cross_entropy"),
        ("loss_term", "loss_weight"),
    ),
    ("label-smoothing", "labels are smoothed by 0.1", CE, "label_smoothing"),
    ("softmax-twice", "a softmax before the cross entropy", (*CE, "step/softmax"), "extra_call"),
    (
        "softmax-left-out",
        "the cross entropy takes its input for probabilities",
        (*CE, "step/sum", "step/abs"),
        ("softmax_twice", "extra_call"),
    ),
    ("label-shifted", "labels are counted from 1", (*CE, "inputs.label"), "target"),
    ("ignored-label", "one class is ignored", CE, "ignore_index"),
    (
        "reconstruction-detached",
        "the reconstruction gives no gradient",
        ("step/detach", "net.decoder/interpolate", "net.decoder.*"),
        ("detached", "extra_call"),
    ),
    (
        "reconstruction-target",
        "the reconstruction's target is scaled to [0, 1]",
        L1,
        ("target", "input_shift", "input_scale"),
    ),
)
OPTIMIZERS = (
    ("beta1", "beta1 is 0.5", OPTIMIZER, "beta1"),
    ("beta2", "beta2 is 0.99", OPTIMIZER, "beta2"),
    ("adam-epsilon", "Adam's epsilon is 1e-7", OPTIMIZER, "optimizer_epsilon"),
    ("decay-missing", "no weight decay", OPTIMIZER, "weight_decay"),
    ("decay-slightly-more", "a weight decay of 1e-4 + 1e-8", OPTIMIZER, "weight_decay"),
    ("decay-decoupled", "AdamW for Adam", OPTIMIZER, ("decoupled_decay", "optimizer_type")),
    (
        "decay-coupled",
        "Adam for AdamW",
        OPTIMIZER,
        ("decoupled_decay", "optimizer_type"),
        {"optimizer": "adamw"},
    ),
    ("nadam", "NAdam for Adam", OPTIMIZER, "optimizer_type"),
    ("momentum", "the momentum is 0.5", OPTIMIZER, "momentum", {"optimizer": "sgd"}),
    ("nesterov", "Nesterov's momentum", OPTIMIZER, "nesterov", {"optimizer": "sgd"}),
    (
        "sgd-without-momentum",
        "no momentum",
        OPTIMIZER,
        ("momentum", "optimizer_type"),
        {"optimizer": "sgd"},
    ),
    ("clip-by-norm-of-one", "gradients are clipped to a norm of 1", OPTIMIZER, "clipping"),
    ("clip-idle", "gradients are clipped to 100 each, which none is", OPTIMIZER, "clipping"),
    ("amsgrad", "Adam is AMSGrad", OPTIMIZER, "amsgrad"),
    (
        "parameters-left-out",
        "the Embedding is not given to the optimizer",
        (OPTIMIZER, "net.text.embedding.weight"),
        "optimizer_parameters",
    ),
    ("rate-of-bias", "one bias has twice the learning rate", ("net.head.bias", OPTIMIZER), "learning_rate"),
    (
        "decay-of-norm",
        "one BatchNorm's weight is not decayed",
        ("net.encoder.norm.weight", OPTIMIZER),
        "weight_decay",
    ),
)
STEP = ("step/backward", OPTIMIZER)
LOOP = (
    ("not-cleared", "gradients are never cleared", OPTIMIZER, "not_cleared"),
    ("cleared-before-step", "gradients are cleared before the step", OPTIMIZER, ("cleared", "order")),
    ("loss-divided", "the loss is divided by 8 before backward", (*STEP, "losses.total"), "scaled_gradient"),
    ("step-twice", "the optimizer steps twice", OPTIMIZER, "stepped_twice"),
    ("step-every-second", "the optimizer steps in every second iteration", OPTIMIZER, "not_stepped"),
    (
        "accumulated",
        "the optimizer steps in every second iteration, on two iterations' gradients",
        OPTIMIZER,
        ("not_stepped", "not_cleared"),
    ),
    (
        "gradients-clipped-by-hand",
        "gradients are clipped to a norm of 0.1 before the step",
        ("step", "step/clip*", OPTIMIZER),
        ("clipping", "extra_call", "scaled_gradient"),
    ),
    ("eval-mode", "the encoder is in eval mode", ("net.encoder", "net.encoder.*", *NORMS), "training"),
    (
        "eval-after-first",
        "the encoder stays in eval mode after the first iteration",
        ("net", "net.encoder", "net.encoder.*"),
        "training",
    ),
)
DATA = (
    ("bgr", "the channels are in the order BGR", IMAGE, "channel_order"),
    ("scaled-to-one", "images in [0, 1] for images in [-1, 1]", IMAGE, ("input_shift", "input_scale")),
    ("shifted", "the images are shifted by one pixel", IMAGE, ("flipped", "input_shift")),
    ("half-images", "the images went through float16", IMAGE, "input_precision"),
    ("standardised", "the images are standardised", IMAGE, ("input_shift", "input_scale")),
    (
        "batch-reversed",
        "the samples come in reverse order: no loss and no gradient shows it",
        ("inputs.image", "inputs.tokens", "inputs.label"),
        "shuffled",
    ),
    ("tokens-reversed", "the tokens are read from the end", "inputs.tokens", "flipped"),
)
SCHEDULE = (
    ("gamma", "the learning rate will fall to a tenth, not to a half", SCHEDULER, "schedule"),
    ("milestone", "the learning rate falls at iteration 2, not at 10", SCHEDULER, "schedule"),
    ("not-advanced", "the scheduler is not stepped", SCHEDULER, ("not_stepped", "schedule")),
    ("advanced-twice", "the scheduler is stepped twice", SCHEDULER, ("stepped_twice", "schedule")),
    ("warm-up", "the learning rate is warmed up", SCHEDULER, ("schedule", "learning_rate")),
    ("exponential", "the learning rate falls a little in every iteration", SCHEDULER, "schedule"),
    ("learning-rate", "the schedule starts at twice the rate", SCHEDULER, ("learning_rate", "schedule")),
)

_ROWS = {
    "converter": CONVERTER,
    "model": MODEL,
    "loss": LOSS,
    "optimizer": OPTIMIZERS,
    "loop": LOOP,
    "data": DATA,
    "schedule": SCHEDULE,
}
_IDLE = frozenset({"clip-idle", "padding-idx-unused", "gamma", "not-advanced"})
MIXED_DEFECTS = tuple(
    _defect(kind, *row, acts=row[0] not in _IDLE) for kind, rows in _ROWS.items() for row in rows
)


def _known(case, says, where, *causes):
    return Defect(f"kn-{case}", "known", "framework", says, where, causes, {"case": case})


KNOWN_DIFFERENCES = (
    _known(
        "bce",
        "BCE with logits at a head that begins at zero",
        ("step/binary_cross_entropy_with_logits",),
        "bce_at_zero",
    ),
    _known("ignored", "cross entropy with ignored rows", ("step/cross_entropy",), "ignored_rows"),
    _known("rmsprop", "RMSProp adds epsilon under the root", (OPTIMIZER,), "rmsprop_epsilon"),
    _known("slope", "LeakyReLU at exactly 0", ("net.act",), "slope_at_zero"),
    _known("ties", "a maximum over ties", ("net/max",), "tie_gradient"),
    Defect(
        "mx-running-variance",
        "mixed",
        "framework",
        "BatchNorm's running variance is the biased one",
        ("net.encoder*norm", "net.encoder*norm.running_var"),
        ("biased_variance",),
    ),
    Defect(
        "dg-running-variance",
        "discogan",
        "framework",
        "BatchNorm's running variance is the biased one",
        ("*.running_var", "generator_?.main.*", "discriminator_?.bn?"),
        ("biased_variance",),
        {"mode": "train"},
    ),
)
