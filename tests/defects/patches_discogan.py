"""Mistakes of conversion, model and losses in DiscoGAN's Paddle side, one function each (see `planting`)."""

import ml_dtypes
import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional

from DG_paddle import bp_DG, losses, model
from tests.defects.patching import (
    before,
    layer_at,
    loads,
    loads_each,
    replace_layer,
    rounded,
    wrong_arguments,
)


def _networks(change):
    """Change the networks of a side before its optimizers take their parameters."""

    def once(side):
        if not vars(side).setdefault(f"changed-{id(change)}", False):
            vars(side)[f"changed-{id(change)}"] = True
            change(side.networks)

    before(bp_DG.DiscoGAN, "_adam", once)


def _every(change):
    _networks(lambda networks: [change(network) for network in networks.values()])


def _put(network, path, layer):
    """Put a layer, made anew for every side, in another's place."""
    _networks(lambda networks: replace_layer(networks[network], path, layer()))


# Conversion


def half():
    _every(lambda network: loads_each(network, is_float_name, lambda array: rounded(array, np.float16)))


def is_float_name(name):
    return not name.endswith("num_batches_tracked")


def bfloat16():
    _every(lambda network: loads_each(network, is_float_name, lambda a: rounded(a, ml_dtypes.bfloat16)))


def statistics_lost():
    statistics = ("_mean", "_variance")
    _every(
        lambda network: loads(network, lambda s: {k: v for k, v in s.items() if not k.endswith(statistics)})
    )


def statistics_exchanged():
    def change(state):
        for name in ("_mean", "_variance"):
            first, second = f"main.3.{name}", f"main.15.{name}"
            state[first], state[second] = state[second], state[first]
        return state

    _networks(lambda networks: loads(networks["generator_A"], change))


def mean_for_variance():
    def change(state):
        state["bn3._mean"], state["bn3._variance"] = state["bn3._variance"], state["bn3._mean"]
        return state

    _networks(lambda networks: loads(networks["discriminator_B"], change))


def affine_swapped():
    def change(state):
        state["bn3.weight"], state["bn3.bias"] = state["bn3.bias"], state["bn3.weight"]
        return state

    _networks(lambda networks: loads(networks["discriminator_A"], change))


def affine_lost():
    def change(state):
        return {k: v for k, v in state.items() if k not in ("main.6.weight", "main.6.bias")}

    _networks(lambda networks: loads(networks["generator_B"], change))


def kernel_axes():
    _every(
        lambda network: loads(
            network, lambda s: {k: v.swapaxes(-1, -2) if v.ndim == 4 else v for k, v in s.items()}
        )
    )


def deconvolution_reversed():
    _networks(
        lambda networks: loads_each(
            networks["generator_A"], "main.14.weight".__eq__, lambda a: a[::-1].copy()
        )
    )


def kernel_flipped():
    _networks(
        lambda networks: loads_each(
            networks["generator_B"], "main.17.weight".__eq__, lambda a: a[..., ::-1].copy()
        )
    )


def one_dict():
    def change(networks):
        for network in networks.values():
            alike = [each for each in networks.values() if type(each) is type(network)]
            network.set_state_dict = lambda state, alike=alike: [
                type(each).set_state_dict(each, state) for each in alike
            ]

    _networks(change)


def generators_exchanged():
    def change(networks):
        first, second = networks["generator_A"], networks["generator_B"]
        first.set_state_dict, second.set_state_dict = second.set_state_dict, first.set_state_dict

    _networks(change)


def weight_scaled():
    _networks(
        lambda networks: loads_each(networks["discriminator_B"], "conv3.weight".__eq__, lambda a: a * 1.001)
    )


def last_layer_kept():
    _networks(
        lambda networks: loads(
            networks["generator_B"], lambda s: {k: v for k, v in s.items() if k != "main.20.weight"}
        )
    )


# Model


def slope():
    wrong_arguments(model, "LeakyReLU", lambda kind, *_: kind(0.01))


def slope_of_one():
    _put("generator_A", "main.4", nn.LeakyReLU)


def relu_for_leaky():
    _put("discriminator_B", "relu3", nn.ReLU)


def elu_for_leaky():
    _put("discriminator_A", "relu2", lambda: nn.ELU(0.2))


def bn_epsilon():
    wrong_arguments(model, "BatchNorm2D", lambda kind, size: kind(size, epsilon=1e-3))


def bn_epsilon_small():
    wrong_arguments(model, "BatchNorm2D", lambda kind, size: kind(size, epsilon=1e-6))


def bn_epsilon_near():
    wrong_arguments(model, "BatchNorm2D", lambda kind, size: kind(size, epsilon=1.01e-5))


def bn_epsilon_of_one():
    def change(networks):
        size = networks["discriminator_A"].bn3.weight.shape[0]
        replace_layer(networks["discriminator_A"], "bn3", nn.BatchNorm2D(size, epsilon=1e-3))

    _networks(change)


def bn_momentum():
    wrong_arguments(model, "BatchNorm2D", lambda kind, size: kind(size, momentum=0.1))


def bn_global_stats():
    def change(networks):
        size = networks["generator_B"].main[6].weight.shape[0]
        replace_layer(networks["generator_B"], "main.6", nn.BatchNorm2D(size, use_global_stats=True))

    _networks(change)


def bn_frozen():
    _networks(lambda networks: networks["discriminator_B"].bn4.eval())


def network_in_eval():
    _networks(lambda networks: networks["generator_A"].eval())


def network_in_train():
    _networks(lambda networks: networks["discriminator_A"].train())


def tanh_for_sigmoid():
    _put("generator_A", "main.21", nn.Tanh)


def hardsigmoid_for_sigmoid():
    _put("generator_B", "main.21", nn.Hardsigmoid)


def activation_missing():
    _put("generator_B", "main.13", nn.Identity)


def _convolution(name, path, source, target, **wrong):
    def change(networks):
        shape = layer_at(networks[name], path).weight.shape
        size = {"in_channels": shape[source], "out_channels": shape[target], "bias_attr": False}
        kind = type(layer_at(networks[name], path))
        replace_layer(
            networks[name], path, kind(**{**size, "kernel_size": 4, "stride": 2, "padding": 1, **wrong})
        )

    _networks(change)


def padding_mode():
    _convolution("generator_B", "main.5", 1, 0, padding_mode="reflect")


def padding_one_sided():
    _convolution("discriminator_A", "conv3", 1, 0, padding=[0, 2, 0, 2])


def dilation():
    _convolution("generator_A", "main.2", 1, 0, dilation=2, padding=3)


def deconvolution_padding():
    _convolution("generator_A", "main.17", 0, 1, padding=[0, 2, 0, 2])


def _judge(after_convolution):
    def forward(self, image):
        relu1 = self.relu1(self.conv1(image))
        relu2 = self.relu2(self.bn2(self.conv2(relu1)))
        relu3 = self.relu3(self.bn3(self.conv3(relu2)))
        relu4 = self.relu4(self.bn4(self.conv4(relu3)))
        return after_convolution(self.conv5(relu4)), [relu2, relu3, relu4]

    model.Discriminator.forward = forward


def sigmoid_twice():
    _judge(lambda x: functional.sigmoid(functional.sigmoid(x)))


def logits_expected():
    losses._bce = nn.BCEWithLogitsLoss()


def features_detached():
    original = losses.feature_matching_loss
    bp_DG.feature_matching_loss = lambda real, fake: original([each.detach() for each in real], fake)


def fake_detached():
    original = bp_DG.Discriminator.forward
    calls = []

    def forward(self, image):
        calls.append(self)
        return original(self, image.detach() if len(calls) % 2 == 0 else image)

    bp_DG.Discriminator.forward = forward


def weight_frozen():
    def change(networks):
        networks["discriminator_B"].conv3.weight.stop_gradient = True

    _networks(change)


# Losses


def l1_for_mse():
    losses._mse = nn.L1Loss()


def mse_sum():
    losses._mse = nn.MSELoss(reduction="sum")


def smooth_l1_for_mse():
    losses._mse = nn.SmoothL1Loss()


def labels_swapped():
    def adversarial(real, fake):
        real, fake = real.reshape([-1, 1]), fake.reshape([-1, 1])
        ones, zeros = paddle.ones(fake.shape), paddle.zeros(fake.shape)
        return losses._bce(real, zeros) * 0.5 + losses._bce(fake, ones) * 0.5, losses._bce(fake, zeros)

    bp_DG.adversarial_losses = adversarial


def labels_smoothed():
    def adversarial(real, fake):
        real, fake = real.reshape([-1, 1]), fake.reshape([-1, 1])
        ones, zeros = paddle.ones(fake.shape), paddle.zeros(fake.shape)
        return losses._bce(real, ones * 0.9) * 0.5 + losses._bce(fake, zeros) * 0.5, losses._bce(fake, ones)

    bp_DG.adversarial_losses = adversarial


def halves_missing():
    def adversarial(real, fake):
        real, fake = real.reshape([-1, 1]), fake.reshape([-1, 1])
        ones, zeros = paddle.ones(fake.shape), paddle.zeros(fake.shape)
        return losses._bce(real, ones) + losses._bce(fake, zeros), losses._bce(fake, ones)

    bp_DG.adversarial_losses = adversarial


def bce_weighted():
    losses._bce = lambda value, label: functional.binary_cross_entropy(
        value, label, paddle.full(label.shape, 0.9)
    )


def rate_doubled():
    original = bp_DG.DiscoGAN.__init__
    bp_DG.DiscoGAN.__init__ = lambda self, options: original(
        self, {**options, "rate": 2 * options.get("rate", 0.01)}
    )


def feature_left_out():
    original = losses.feature_matching_loss
    bp_DG.feature_matching_loss = lambda real, fake: original(real[1:], fake[1:])


def hinge_target():
    def matching(real, fake):
        terms = []
        for real_feature, fake_feature in zip(real, fake, strict=True):
            difference = real_feature.mean(0) - fake_feature.mean(0)
            squared = difference * difference
            terms.append(losses._hinge(squared, -paddle.ones(squared.shape)))
        return sum(terms[1:], start=terms[0])

    bp_DG.feature_matching_loss = matching


def reconstruction_target():
    original = losses.reconstruction_loss
    kept = []

    def reconstruction(output, image):
        kept.append(image)
        return original(output, kept[-2] if len(kept) % 2 == 0 else image)

    bp_DG.reconstruction_loss = reconstruction


def reconstruction_detached():
    original = losses.reconstruction_loss
    bp_DG.reconstruction_loss = lambda output, image: original(output.detach(), image)


def adversarial_weights():
    original, count = bp_DG.adversarial_losses, 0.9 / 0.1
    bp_DG.adversarial_losses = lambda real, fake: _scaled_second(original(real, fake), count)


def _scaled_second(pair, factor):
    return pair[0], pair[1] * factor
