"""Mistakes of optimizers, loop and data in DiscoGAN's Paddle side, one function each (see `planting`)."""

from itertools import chain

import ml_dtypes
import numpy as np
import paddle
from paddle import nn
from paddle import optimizer as optim

from DG_paddle import bp_DG, model
from tests.defects.patching import after, as_port, rounded

ADAM = {"learning_rate": 2e-4, "beta1": 0.5, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 1e-5}


def _optimizer(make=optim.Adam, leave_out=lambda name: False, networks=lambda names: names, **wrong):
    """Have the port make other optimizers."""
    settings = {name: value for name, value in {**ADAM, **wrong}.items() if value is not ...}

    def _adam(self, *names):
        named = chain.from_iterable(
            ((f"{name}.{path}", parameter) for path, parameter in self.networks[name].named_parameters())
            for name in networks(names)
        )
        return make(parameters=[parameter for name, parameter in named if not leave_out(name)], **settings)

    bp_DG.DiscoGAN._adam = _adam


# Modes


def eval_batch_statistics():
    after(model.Generator, "eval", lambda self: self.main[3].train())


# Optimizers


def learning_rate():
    _optimizer(learning_rate=4e-4)


def beta1():
    _optimizer(beta1=0.9)


def beta2():
    _optimizer(beta2=0.99)


def adam_epsilon():
    _optimizer(epsilon=1e-7)


def decay_missing():
    _optimizer(weight_decay=None)


def decay_decoupled():
    _optimizer(optim.AdamW)


def decay_l1():
    _optimizer(weight_decay=paddle.regularizer.L1Decay(1e-5))


def sgd():
    _optimizer(optim.SGD, beta1=..., beta2=..., epsilon=...)


def clip_active():
    _optimizer(grad_clip=nn.ClipGradByGlobalNorm(0.01))


def clip_idle():
    _optimizer(grad_clip=nn.ClipGradByGlobalNorm(100.0))


def clip_value():
    _optimizer(grad_clip=nn.ClipGradByValue(1e-3))


def amsgrad():
    _optimizer(amsgrad=True)


def parameter_left_out():
    _optimizer(leave_out=lambda name: name == "discriminator_A.conv5.weight")


def network_left_out():
    _optimizer(networks=lambda names: [name for name in names if name != "generator_B"])


# Loop


def _even(iteration):
    return iteration % 2 == 0


def _loop(turn=_even, backward=None, step=None, after_step=None, before_backward=None):
    """Have the port take its training step otherwise in one respect."""

    def training_step(self, iteration, batch, observer):
        gen_loss, dis_loss = self.losses(batch["A"], batch["B"])
        observer.loss("gen_loss", gen_loss)
        observer.loss("dis_loss", dis_loss)
        discriminators_turn = turn(iteration)
        name = "discriminators" if discriminators_turn else "generators"
        stepping = self.optimizers[name]
        if before_backward is not None:
            before_backward(stepping)
        loss = dis_loss if discriminators_turn else gen_loss
        loss = loss if backward is None else backward(loss, gen_loss, dis_loss)
        loss.backward()
        observer.gradients()
        for optimizer in [stepping] if step is None else step(self, name, iteration):
            optimizer.step()
        self.clear_gradients(stepping) if after_step is None else after_step(self, stepping)

    bp_DG.DiscoGAN.training_step = training_step


def not_cleared():
    bp_DG.DiscoGAN.clear_gradients = lambda self, stepping: None


def all_cleared():
    def clear_gradients(self, stepping):
        for optimizer in self.optimizers.values():
            optimizer.clear_grad(set_to_zero=False)

    bp_DG.DiscoGAN.clear_gradients = clear_gradients


def cleared_before_backward():
    _loop(
        before_backward=lambda stepping: stepping.clear_grad(set_to_zero=False),
        after_step=lambda side, stepping: None,
    )


def loss_divided():
    _loop(backward=lambda loss, gen, dis: loss / 8)


def generators_first():
    _loop(turn=lambda iteration: iteration % 2 == 1)


def turn_of_three():
    _loop(turn=lambda iteration: iteration % 3 == 0)


def step_twice():
    _loop(step=lambda side, name, iteration: [side.optimizers[name]] * 2)


def generators_never_step():
    _loop(step=lambda side, name, iteration: [side.optimizers[name]] if name == "discriminators" else [])


def step_skipped():
    _loop(step=lambda side, name, iteration: [] if iteration == 2 else [side.optimizers[name]])


def both_step():
    _loop(step=lambda side, name, iteration: side.optimizers.values())


def wrong_loss():
    _loop(backward=lambda loss, gen, dis: dis)


def sum_of_losses():
    _loop(backward=lambda loss, gen, dis: gen + dis)


def eval_after_first():
    after(
        bp_DG.DiscoGAN,
        "training_step",
        lambda side: [network.eval() for network in side.networks.values()],
    )


# Data


def _data(change, names=("A", "B")):
    original = bp_DG.DiscoGAN.losses

    def losses(self, A, B):
        given = {"A": A, "B": B}
        A, B = (as_port(given[name], change) if name in names else given[name] for name in "AB")
        return original(self, A, B)

    bp_DG.DiscoGAN.losses = losses


def bgr():
    _data(lambda images: images[:, ::-1])


def scaled_to_one():
    _data(lambda images: images * 0.5 + 0.5)


def divided_by_255():
    _data(lambda images: images / 255.0, names=("B",))


def shifted():
    _data(lambda images: np.roll(images, 1, -1))


def mirrored():
    _data(lambda images: images[..., ::-1], names=("A",))


def batch_reversed():
    _data(lambda images: images[::-1], names=("A",))


def domains_swapped():
    original = bp_DG.DiscoGAN.losses
    bp_DG.DiscoGAN.losses = lambda self, A, B: original(self, B, A)


def half_images():
    _data(lambda images: rounded(images, np.float16))


def bfloat16_images():
    _data(lambda images: rounded(images, ml_dtypes.bfloat16), names=("B",))
