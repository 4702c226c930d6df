"""Paddle sides of DiscoGAN with one mistake each. Imported by Paddle's worker only."""

import os
import signal
import sys

import paddle
from paddle import nn
from paddle import optimizer as optim

from DG_paddle.bp_DG import DiscoGAN


def _layers(side, kind):
    networks = side.networks.values()
    return [layer for network in networks for layer in network.sublayers() if isinstance(layer, kind)]


class Slope(DiscoGAN):
    """LeakyReLU with the frameworks' default slope, not the model's."""

    def __init__(self, options):
        super().__init__(options)
        for layer in _layers(self, nn.LeakyReLU):
            layer._negative_slope = 0.01


class NoDecay(DiscoGAN):
    """Adam without weight decay."""

    def _adam(self, *names):
        parameters = [p for name in names for p in self.networks[name].parameters()]
        return optim.Adam(2e-4, 0.5, 0.999, 1e-8, parameters=parameters)


class Epsilon(DiscoGAN):
    """BatchNorm with another framework's epsilon."""

    def __init__(self, options):
        super().__init__(options)
        for layer in _layers(self, nn.BatchNorm2D):
            layer._epsilon = 1e-3


class Cleared(DiscoGAN):
    """The generators' gradients cleared in every iteration."""

    def clear_gradients(self, stepping):
        super().clear_gradients(stepping)
        self.optimizers["generators"].clear_grad(set_to_zero=False)


class LostStatistics(DiscoGAN):
    """Running statistics that loading does not copy."""

    def __init__(self, options):
        super().__init__(options)
        for network in self.networks.values():
            network.set_state_dict = _without_statistics(network.set_state_dict)


def _without_statistics(load):
    def loading(state):
        return load(
            {name: value for name, value in state.items() if not name.endswith(("_mean", "_variance"))}
        )

    return loading


class Momentum(DiscoGAN):
    """Torch's number for BatchNorm's momentum in Paddle's convention."""

    def __init__(self, options):
        super().__init__(options)
        for layer in _layers(self, nn.BatchNorm2D):
            layer._momentum = 0.1


class MovedVariance(DiscoGAN):
    """A running variance moved by hand, by a thousandth of itself."""

    def training_step(self, iteration, batch, observer):
        super().training_step(iteration, batch, observer)
        variance = self.networks["discriminator_A"].bn3._variance
        variance.set_value(variance * 1.001)


class NaN(DiscoGAN):
    """One weight that becomes NaN after the first step."""

    def training_step(self, iteration, batch, observer):
        super().training_step(iteration, batch, observer)
        with paddle.no_grad():
            weight = self.networks["discriminator_B"].conv5.weight
            weight.set_value(weight * float("nan"))


class ExtraLayer(DiscoGAN):
    """A layer that the reference does not have."""

    def __init__(self, options):
        super().__init__(options)
        self.networks["generator_A"].extra = nn.Linear(2, 2)


class UnreportedGradients(DiscoGAN):
    """A training step that never says when backward is done."""

    def training_step(self, iteration, batch, observer):
        class Silent:
            loss = staticmethod(observer.loss)

            def gradients(self):
                pass

        super().training_step(iteration, batch, Silent())


class OtherLossName(DiscoGAN):
    """A training step that calls a loss by another name."""

    def training_step(self, iteration, batch, observer):
        class Renaming:
            gradients = staticmethod(observer.gradients)

            def loss(self, name, value):
                observer.loss(name.replace("dis_loss", "d_loss"), value)

        super().training_step(iteration, batch, Renaming())


class Raises(DiscoGAN):
    """A training step that raises."""

    def training_step(self, iteration, batch, observer):
        raise RuntimeError("planted failure")


class Killed(DiscoGAN):
    """A worker that is killed, as by a machine out of memory."""

    def training_step(self, iteration, batch, observer):
        print("last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


class Exits(DiscoGAN):
    """A worker that leaves on its own."""

    def training_step(self, iteration, batch, observer):
        os._exit(7)
