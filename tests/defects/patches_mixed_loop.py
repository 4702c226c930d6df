"""Mistakes of optimizer, loop, data and schedule in the second net's Paddle side, one function each."""

import numpy as np
import paddle
from paddle import nn
from paddle.optimizer import lr

from tests.defects import mixed_paddle as port
from tests.defects.patching import after, as_port, layer_at, rounded

Side = port.MixedSide


# Optimizer


def _optimizer(make=paddle.optimizer.Adam, **wrong):
    """Have the port make another optimizer."""
    settings = {name: value for name, value in {**port.ADAM, **wrong}.items() if value is not ...}

    def optimizer(self, parameters):
        return make(self.schedulers["main"], parameters=parameters, **settings)

    Side.optimizer = optimizer


def beta1():
    port.ADAM["beta1"] = 0.5


def beta2():
    port.ADAM["beta2"] = 0.99


def adam_epsilon():
    port.ADAM["epsilon"] = 1e-7


def decay_missing():
    port.ADAM["weight_decay"] = None


def decay_slightly_more():
    port.ADAM["weight_decay"] = 1e-4 + 1e-8


def decay_decoupled():
    _optimizer(paddle.optimizer.AdamW)


def decay_coupled():
    _optimizer(paddle.optimizer.Adam)


def nadam():
    _optimizer(
        lambda rate, beta1, beta2, epsilon, weight_decay, parameters: paddle.optimizer.NAdam(
            rate, beta1, beta2, epsilon, parameters=parameters, weight_decay=weight_decay
        )
    )


def momentum():
    port.SGD["momentum"] = 0.5


def nesterov():
    port.SGD["use_nesterov"] = True


def sgd_without_momentum():
    _optimizer(paddle.optimizer.SGD, beta1=..., beta2=..., epsilon=...)


def clip_by_norm_of_one():
    _optimizer(grad_clip=nn.ClipGradByGlobalNorm(1.0))


def clip_idle():
    _optimizer(grad_clip=nn.ClipGradByValue(100.0))


def amsgrad():
    _optimizer(amsgrad=True)


def parameters_left_out():
    Side.parameters = lambda self: [
        parameter
        for name, parameter in self.networks["net"].named_parameters()
        if not name.startswith("text.embedding")
    ]


def _attribute(path, **attributes):
    def change(net):
        for name, value in attributes.items():
            setattr(layer_at(net, path), name, value)

    after(port.Mixed, "__init__", change)


def rate_of_bias():
    _attribute("head.bias", optimize_attr={"learning_rate": 2.0})


def decay_of_norm():
    _attribute("encoder.norm.weight", regularizer=paddle.regularizer.L2Decay(0.0))


# Loop


def not_cleared():
    Side.clear = lambda self: None


def cleared_before_step():
    def step(self, iteration):
        self.optimizers["main"].clear_grad(set_to_zero=False)
        self.optimizers["main"].step()

    Side.step = step


def loss_divided():
    Side.backward = lambda self, loss: (loss / 8).backward()


def step_twice():
    def step(self, iteration):
        self.optimizers["main"].step()
        self.optimizers["main"].step()

    Side.step = step


def step_every_second():
    def step(self, iteration):
        if iteration % 2 == 0:
            self.optimizers["main"].step()

    Side.step = step


def accumulated():
    def step(self, iteration):
        self.stepped = iteration % 2 == 1
        if self.stepped:
            self.optimizers["main"].step()

    def clear(self):
        if self.stepped:
            self.optimizers["main"].clear_grad(set_to_zero=False)

    Side.step, Side.clear = step, clear


def gradients_clipped_by_hand():
    def step(self, iteration):
        nn.utils.clip_grad_norm_(self.networks["net"].parameters(), 0.1)
        self.optimizers["main"].step()

    Side.step = step


def eval_mode():
    after(Side, "__init__", lambda side: [each.eval() for each in side.networks["net"].encoder.sublayers()])


def eval_after_first():
    after(Side, "training_step", lambda side: side.networks["net"].encoder.eval())


# Data


def _data(change):
    original = Side.prepare

    def prepare(self, batch):
        image, tokens, label = original(self, batch)
        return as_port(image, change), tokens, label

    Side.prepare = prepare


def bgr():
    _data(lambda images: images[:, ::-1])


def scaled_to_one():
    _data(lambda images: images * 0.5 + 0.5)


def shifted():
    _data(lambda images: np.roll(images, 1, -2))


def half_images():
    _data(lambda images: rounded(images, np.float16))


def standardised():
    _data(lambda images: (images - 0.2) / 0.5)


def batch_reversed():
    def prepare(self, batch):
        return tuple(as_port(batch[name], lambda array: array[::-1]) for name in ("image", "tokens", "label"))

    Side.prepare = prepare


def tokens_reversed():
    def prepare(self, batch):
        return batch["image"], as_port(batch["tokens"], lambda array: array[:, ::-1]), batch["label"]

    Side.prepare = prepare


# Schedule


def gamma():
    port.SCHEDULE["gamma"] = 0.1


def milestone():
    port.SCHEDULE["step_size"] = 2


def not_advanced():
    Side.advance = lambda self, iteration: None


def advanced_twice():
    def advance(self, iteration):
        self.schedulers["main"].step()
        self.schedulers["main"].step()

    Side.advance = advance


def warm_up():
    Side.scheduler = lambda self: lr.LinearWarmup(lr.StepDecay(1e-3, **port.SCHEDULE), 3, 0.0, 1e-3)


def exponential():
    Side.scheduler = lambda self: lr.ExponentialDecay(1e-3, 0.5 ** (1 / 10))


def learning_rate():
    Side.scheduler = lambda self: lr.StepDecay(2e-3, **port.SCHEDULE)
