"""The DiscoGAN training step, in Paddle, and the script that runs it for a few iterations.

As a script (``python bp_DG.py``) it writes the losses to ``bp_paddle.npy``, a reprod_log file.
``DG_torch/bp_DG.py`` is this file in Torch, line by line.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import paddle
from paddle import nn
from paddle import optimizer as optim

from DG_paddle.losses import adversarial_losses, feature_matching_loss, reconstruction_loss
from DG_paddle.model import Discriminator, Generator
from DG_pair import Options, script
from parity.pair import Observer

__all__ = ["DiscoGAN"]


class DiscoGAN:
    """Two generators, two discriminators, and the Adam that each two of them share."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.given = given = Options(**options)
        self.networks: dict[str, nn.Layer] = {
            "generator_A": Generator(given.width, given.extra_layers),
            "generator_B": Generator(given.width, given.extra_layers),
            "discriminator_A": Discriminator(given.width),
            "discriminator_B": Discriminator(given.width),
        }
        for network in self.networks.values():
            network.train() if given.mode == "train" else network.eval()
        self.optimizers = {
            "generators": self._adam("generator_A", "generator_B"),
            "discriminators": self._adam("discriminator_A", "discriminator_B"),
        }

    def _adam(self, *names: str) -> optim.Adam:
        parameters = [*chain.from_iterable(self.networks[name].parameters() for name in names)]
        return optim.Adam(2e-4, 0.5, 0.999, 1e-8, parameters=parameters, weight_decay=1e-5)

    def losses(self, A: paddle.Tensor, B: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return the generators' loss and the discriminators', from images ``[N, 3, 64, 64]``."""
        G_A, G_B, D_A, D_B = self.networks.values()
        AB, BA = G_B(B), G_A(A)
        ABA, BAB = G_A(AB), G_B(BA)
        recon_A, recon_B = reconstruction_loss(ABA, A), reconstruction_loss(BAB, B)

        real_A, real_features_A = D_A(A)
        fake_A, fake_features_A = D_A(BA)
        dis_A, gen_A = adversarial_losses(real_A, fake_A)
        fm_A = feature_matching_loss(real_features_A, fake_features_A)

        real_B, real_features_B = D_B(B)
        fake_B, fake_features_B = D_B(AB)
        dis_B, gen_B = adversarial_losses(real_B, fake_B)
        fm_B = feature_matching_loss(real_features_B, fake_features_B)

        rate = self.given.rate
        total_A = (gen_B * 0.1 + fm_B * 0.9) * (1.0 - rate) + recon_A * rate
        total_B = (gen_A * 0.1 + fm_A * 0.9) * (1.0 - rate) + recon_B * rate
        if self.given.arch == "discogan":
            return total_A + total_B, dis_A + dis_B
        if self.given.arch == "recongan":
            return total_A, dis_B
        return gen_B * 0.1 + fm_B * 0.9, dis_B

    def training_step(self, iteration: int, batch: Mapping[str, paddle.Tensor], observer: Observer) -> None:
        """Step one of the two optimizers: the discriminators' on every ``update_interval``-th turn."""
        gen_loss, dis_loss = self.losses(batch["A"], batch["B"])
        observer.loss("gen_loss", gen_loss)
        observer.loss("dis_loss", dis_loss)

        discriminators_turn = iteration % self.given.update_interval == 0
        (dis_loss if discriminators_turn else gen_loss).backward()
        observer.gradients()

        stepping = self.optimizers["discriminators" if discriminators_turn else "generators"]
        stepping.step()
        self.clear_gradients(stepping)

    def clear_gradients(self, stepping: optim.Adam) -> None:
        """Clear the gradients of the stepping optimizer, or of both.

        Both losses share one graph, so backward also reaches the networks whose turn it is not. The
        public loop leaves their gradients in place, to be added to at their own turn (``stepping``).
        """
        for optimizer in self.optimizers.values():
            if optimizer is stepping or self.given.clear_grad == "all":
                optimizer.clear_grad(set_to_zero=False)


def main() -> None:
    """Run the loop from the command line's options and write ``bp_paddle.npy``."""
    run = script.start("paddle")
    side = DiscoGAN(run.options)
    for name, network in side.networks.items():
        weights = {key: paddle.to_tensor(value) for key, value in run.weights[name].items()}
        missing, unexpected = network.set_state_dict(weights)
        if missing or unexpected:  # set_state_dict itself only warns
            raise ValueError(f"{name} lacks {missing} or does not know {unexpected}")
    batch = {name: paddle.to_tensor(array) for name, array in run.batch.items()}
    for iteration in range(run.iters):
        side.training_step(iteration, batch, run)
    run.save("bp_paddle.npy")


if __name__ == "__main__":
    main()
