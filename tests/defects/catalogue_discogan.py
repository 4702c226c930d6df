"""The mistakes planted in DiscoGAN (see `catalogue`)."""

from tests.defects.defect import Defect

TRAIN = {"mode": "train"}
NORMS = (*(f"generator_?.main.{at}" for at in (3, 6, 9, 12, 15, 18)), "discriminator_?.bn?")
LEAKY = (*(f"generator_?.main.{at}" for at in (1, 4, 7, 10)), "discriminator_?.relu?")
RUNNING = tuple(f"{norm}.running_{name}" for norm in NORMS for name in ("mean", "var"))
WEIGHTS = ("*.weight", "*.bias")
OPTIMIZERS = ("optimizers.generators", "optimizers.discriminators")
LOSSES = ("losses.gen_loss", "losses.dis_loss")
MSE = ("step/mse_loss", "losses.gen_loss")
BCE = ("step/binary_cross_entropy", *LOSSES)
HINGE = ("step/hinge_embedding_loss", "losses.gen_loss")
INPUTS = ("inputs.A", "inputs.B")


def _defect(kind, name, says, where, causes, options=None, **rest):
    """Take a single word for a tuple of one."""
    where, causes = ((each,) if isinstance(each, str) else tuple(each) for each in (where, causes))
    return Defect(f"dg-{name}", "discogan", kind, says, where, causes, options or {}, **rest)


CONVERTER = (
    ("half", "all weights went through float16", WEIGHTS + RUNNING, "half_precision"),
    ("bfloat16", "all weights went through bfloat16", WEIGHTS + RUNNING, "half_precision"),
    ("statistics-lost", "running statistics are not mapped, and skipped", RUNNING, "not_loaded"),
    (
        "statistics-exchanged",
        "two BatchNorms have each other's statistics",
        tuple(f"generator_A.main.{at}.running_*" for at in (3, 15)),
        ("swapped", "permuted"),
    ),
    (
        "mean-for-variance",
        "the running mean and variance of a BatchNorm are swapped",
        "discriminator_B.bn3.running_*",
        "swapped",
        TRAIN,
    ),
    (
        "affine-swapped",
        "the weight and bias of a BatchNorm are swapped",
        ("discriminator_A.bn3.weight", "discriminator_A.bn3.bias"),
        ("swapped", "lost"),
    ),
    (
        "affine-lost",
        "the weight and bias of a BatchNorm are not loaded",
        ("generator_B.main.6.weight", "generator_B.main.6.bias"),
        ("not_loaded", "lost"),
    ),
    ("kernel-axes", "height and width of all kernels are swapped", "*.weight", "axes_swapped"),
    (
        "deconvolution-reversed",
        "the input channels of a transposed convolution are reversed",
        "generator_A.main.14.weight",
        "reversed",
    ),
    ("kernel-flipped", "a kernel is mirrored", "generator_B.main.17.weight", "reversed"),
    (
        "one-dict",
        "one dict serves all networks of a kind: each has the last one's weights",
        ("generator_A.main.*", "discriminator_A.*"),
        "swapped",
    ),
    ("generators-exchanged", "generators A and B have each other's weights", "generator_?.main.*", "swapped"),
    ("weight-scaled", "a weight is 0.1 % too large", "discriminator_B.conv3.weight", "scaled"),
    ("last-layer-kept", "the last layer keeps its own draw", "generator_B.main.20.weight", "not_loaded"),
)
MODEL = (
    ("slope", "every LeakyReLU has the default slope, 0.01", LEAKY, "negative_slope"),
    ("slope-of-one", "one LeakyReLU has the default slope", "generator_A.main.4", "negative_slope"),
    ("relu-for-leaky", "ReLU for one LeakyReLU", "discriminator_B.relu3", "layer_type"),
    ("elu-for-leaky", "ELU for one LeakyReLU, in training", "discriminator_A.relu2", "layer_type", TRAIN),
    ("bn-epsilon", "every BatchNorm's epsilon is 1e-3", NORMS, "epsilon", TRAIN),
    ("bn-epsilon-small", "every BatchNorm's epsilon is 1e-6", NORMS, "epsilon", TRAIN),
    ("bn-epsilon-near", "every BatchNorm's epsilon is 1.01e-5", NORMS, "epsilon"),
    ("bn-epsilon-of-one", "one BatchNorm's epsilon is 1e-3", "discriminator_A.bn3", "epsilon"),
    (
        "bn-momentum",
        "every BatchNorm has Torch's momentum, 0.1, in Paddle's convention",
        NORMS,
        "momentum",
        TRAIN,
    ),
    (
        "bn-global-stats",
        "one BatchNorm trains on its running statistics",
        "generator_B.main.6",
        ("use_global_stats", "training"),
        TRAIN,
    ),
    (
        "bn-frozen",
        "one BatchNorm is in eval mode",
        "discriminator_B.bn4",
        ("training", "use_global_stats"),
        TRAIN,
    ),
    (
        "eval-batch-statistics",
        "the generators' first BatchNorm keeps to the batch's statistics in evaluation",
        "generator_?.main.3",
        "training",
        TRAIN,
    ),
    (
        "network-in-eval",
        "one network is left in eval mode",
        ("generator_A", "generator_A.main*"),
        "training",
        TRAIN,
    ),
    (
        "network-in-train",
        "one network is left in train mode",
        ("discriminator_A", "discriminator_A.bn?"),
        "training",
    ),
    ("tanh-for-sigmoid", "Tanh for the last Sigmoid", "generator_A.main.21", "layer_type"),
    ("hardsigmoid-for-sigmoid", "Hardsigmoid for the last Sigmoid", "generator_B.main.21", "layer_type"),
    (
        "activation-missing",
        "an activation is left out",
        "generator_B.main.13",
        ("layer_type", "missing_call"),
        TRAIN,
    ),
    ("padding-mode", "one convolution pads by reflection", "generator_B.main.5", "padding_mode"),
    (
        "padding-one-sided",
        "one convolution pads two at the end instead of one at each side",
        "discriminator_A.conv3",
        "padding",
    ),
    ("dilation", "one convolution is dilated", "generator_A.main.2", ("dilation", "padding")),
    (
        "deconvolution-padding",
        "one transposed convolution is cut at the end only",
        "generator_A.main.17",
        "padding",
        TRAIN,
    ),
    (
        "sigmoid-twice",
        "the discriminators apply their sigmoid twice",
        "discriminator_?/sigmoid",
        "extra_call",
    ),
    (
        "features-detached",
        "feature matching takes no gradient through the real features",
        ("step/detach", "step/mean", "discriminator_?.relu?"),
        ("detached", "extra_call"),
    ),
    (
        "fake-detached",
        "the discriminators judge a detached fake",
        ("discriminator_?/detach", "step/detach", "generator_?.main.21", "discriminator_?.conv1"),
        ("detached", "extra_call"),
    ),
    ("weight-frozen", "one weight does not train", "discriminator_B.conv3.weight", "frozen", TRAIN),
)
LOSS = (
    ("l1-for-mse", "L1 for the reconstruction's MSE", (*MSE, "step/l1_loss"), "loss_function"),
    ("mse-sum", "the MSE is a sum", MSE, "reduction"),
    (
        "smooth-l1-for-mse",
        "smooth L1 for the MSE",
        (*MSE, "step/smooth_l1_loss"),
        "loss_function",
        TRAIN,
    ),
    ("labels-swapped", "real is 0 and fake is 1", BCE, "target"),
    ("labels-smoothed", "real is 0.9", BCE, "target"),
    ("halves-missing", "the discriminators' two terms are not halved", BCE, "loss_weight"),
    ("bce-weighted", "the BCE has a weight of 0.9", BCE, ("loss_weight", "loss_function")),
    (
        "logits-expected",
        "BCE with logits is given probabilities",
        (*BCE, "step/binary_cross_entropy_with_logits", "discriminator_?/sigmoid"),
        ("loss_function", "extra_call"),
    ),
    ("rate-doubled", "the reconstruction's rate is 0.02", MSE, "loss_weight"),
    (
        "feature-left-out",
        "one of the three features is not matched",
        (*HINGE, "step/mean"),
        ("loss_term", "missing_call"),
    ),
    ("hinge-target", "the hinge embedding's target is -1", HINGE, "target"),
    (
        "reconstruction-target",
        "B's reconstruction is compared with A",
        MSE,
        ("target", "inputs_swapped"),
    ),
    (
        "reconstruction-detached",
        "the reconstruction's loss gives no gradient",
        ("step/detach", "generator_?.main.21", *MSE),
        ("detached", "extra_call"),
        TRAIN,
    ),
    (
        "adversarial-weights",
        "the adversarial terms weigh 0.9, not 0.1",
        ("losses.gen_loss", "step/binary_cross_entropy"),
        "loss_weight",
    ),
)
OPTIMIZER = (
    ("learning-rate", "the learning rate is doubled", OPTIMIZERS, "learning_rate"),
    ("beta1", "beta1 is the default, 0.9", OPTIMIZERS, "beta1"),
    ("beta2", "beta2 is 0.99", OPTIMIZERS, "beta2", TRAIN),
    ("adam-epsilon", "Adam's epsilon is 1e-7", OPTIMIZERS, "optimizer_epsilon"),
    ("decay-missing", "no weight decay", OPTIMIZERS, "weight_decay", TRAIN),
    (
        "decay-decoupled",
        "AdamW for Adam: the decay is decoupled",
        OPTIMIZERS,
        ("decoupled_decay", "optimizer_type"),
        TRAIN,
    ),
    (
        "decay-l1",
        "the decay is the L1 norm's",
        OPTIMIZERS,
        ("weight_decay", "decoupled_decay"),
        TRAIN,
    ),
    ("sgd", "SGD for Adam", OPTIMIZERS, "optimizer_type"),
    ("clip-active", "gradients are clipped to a norm of 0.01", OPTIMIZERS, "clipping"),
    ("clip-idle", "gradients are clipped to a norm of 100, which they never have", OPTIMIZERS, "clipping"),
    ("clip-value", "gradients are clipped to 1e-3 each", OPTIMIZERS, "clipping"),
    ("amsgrad", "Adam is AMSGrad", OPTIMIZERS, "amsgrad"),
    (
        "parameter-left-out",
        "a weight is not given to the optimizer",
        ("optimizers.discriminators", "discriminator_A.conv5.weight"),
        "optimizer_parameters",
    ),
    (
        "network-left-out",
        "generator B is not given to the optimizer",
        ("optimizers.generators", "generator_B.*"),
        "optimizer_parameters",
        TRAIN,
    ),
)
STEP = ("step/backward", *OPTIMIZERS)
LOOP = (
    ("not-cleared", "gradients are never cleared", OPTIMIZERS, "not_cleared"),
    ("all-cleared", "all gradients are cleared, not the stepping optimizer's only", OPTIMIZERS, "cleared"),
    (
        "cleared-before-backward",
        "gradients are cleared before backward, not after the step",
        OPTIMIZERS,
        ("cleared", "order", "not_cleared"),
    ),
    ("loss-divided", "the loss is divided by 8 before backward", (*STEP, *LOSSES), "scaled_gradient"),
    ("generators-first", "the generators' turn comes first", STEP, "order"),
    ("turn-of-three", "the discriminators step at every third turn", STEP, "order"),
    ("step-twice", "the optimizer steps twice", OPTIMIZERS, "stepped_twice"),
    (
        "generators-never-step",
        "the generators' optimizer never steps",
        "optimizers.generators",
        "not_stepped",
    ),
    ("step-skipped", "one step is skipped", OPTIMIZERS, "not_stepped", TRAIN),
    ("both-step", "both optimizers step in every turn", OPTIMIZERS, ("stepped_twice", "order")),
    (
        "wrong-loss",
        "the generators step on the discriminators' loss",
        (*STEP, *LOSSES),
        ("order", "loss_function", "loss_term", "target"),
    ),
    (
        "sum-of-losses",
        "backward starts at the sum of both losses",
        (*STEP, *LOSSES),
        ("order", "loss_function", "loss_term", "loss_weight"),
    ),
    (
        "eval-after-first",
        "the networks stay in eval mode after the first iteration",
        ("generator_?", "discriminator_?", *NORMS),
        "training",
        TRAIN,
    ),
)
DATA = (
    ("bgr", "the channels are in the order BGR", INPUTS, "channel_order"),
    ("scaled-to-one", "images in [0, 1] for images in [-1, 1]", INPUTS, ("input_shift", "input_scale")),
    ("divided-by-255", "B's images are divided by 255", "inputs.B", "input_scale"),
    ("shifted", "the images are shifted by one pixel", INPUTS, ("flipped", "input_shift")),
    ("mirrored", "A's images are mirrored", "inputs.A", "flipped"),
    ("batch-reversed", "A's images come in reverse order: no loss shows it", "inputs.A", "shuffled"),
    ("domains-swapped", "A and B are swapped", INPUTS, "inputs_swapped"),
    ("half-images", "the images went through float16", INPUTS, "input_precision"),
    ("bfloat16-images", "B's images went through bfloat16", "inputs.B", "input_precision"),
)

_ROWS = {
    "converter": CONVERTER,
    "model": MODEL,
    "loss": LOSS,
    "optimizer": OPTIMIZER,
    "loop": LOOP,
    "data": DATA,
}
_IDLE = frozenset({"clip-idle"})
DISCOGAN_DEFECTS = tuple(
    _defect(kind, *row, acts=row[0] not in _IDLE) for kind, rows in _ROWS.items() for row in rows
)
