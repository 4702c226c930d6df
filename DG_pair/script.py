"""What ``bp_DG.py`` needs when it runs as a script: options, weights, data, and the loss log."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from converter import ConverterError
from DG_pair.options import Options
from DG_pair.pair import DISCOGAN
from parity import reprod
from parity.pair import Array, Framework
from parity.weights import initial_checkpoint, state_for

__all__ = ["Script", "start"]


@dataclass
class Script:
    """One side run by hand; as the training step's observer it prints and keeps the losses."""

    framework: Framework
    options: dict[str, Any]
    iters: int
    weights: Mapping[str, Mapping[str, Array]]
    """A state dict for each network, in the framework's own names and layouts."""
    batch: Mapping[str, Array]
    losses: dict[int, dict[str, float]] = field(default_factory=dict)

    def loss(self, name: str, value: Any) -> None:
        """Print a loss and keep it; the first one opens an iteration, as does one seen before."""
        if not self.losses or name in self.losses[len(self.losses) - 1]:
            self.losses[len(self.losses)] = {}
        iteration = len(self.losses) - 1
        self.losses[iteration][name] = float(value.item())
        print(f"{self.framework} iteration {iteration} {name}: {self.losses[iteration][name]!r}")

    def gradients(self) -> None:
        """Record nothing: a script logs losses only."""

    def save(self, name: str) -> None:
        """Write the losses as a reprod_log file in the current folder."""
        reprod.write(Path(name), reprod.loss_log(self.losses, "float32"))
        print(f"wrote {name}")


def start(framework: Framework) -> Script:
    """Read the command line and prepare weights and data for one framework's loop."""
    parser = argparse.ArgumentParser(description=f"The DiscoGAN loop in {framework.title()}.")
    parser.add_argument("--iters", type=int, default=5, help="iterations (default: %(default)s)")
    parser.add_argument(
        "--weights", type=Path, help="checkpoint of either framework (default: the seeded weights)"
    )
    hints = get_type_hints(Options)
    for option in fields(Options):
        kind, flag = hints[option.name], f"--{option.name.replace('_', '-')}"
        if kind is bool:
            parser.add_argument(flag, action="store_true")
        else:
            choices = get_args(kind) or None
            parser.add_argument(
                flag,
                type=str if choices else kind,
                choices=choices,
                default=option.default,
                help="default: %(default)s",
            )
    given = vars(parser.parse_args())
    iters, checkpoint = given.pop("iters"), given.pop("weights")
    try:
        options = asdict(Options(**given))
        weights = _weights(framework, options, checkpoint)
    except (ValueError, ConverterError) as error:
        parser.error(str(error))
    return Script(framework, options, iters, weights, DISCOGAN.batch(options, 0))


def _weights(
    framework: Framework, options: Mapping[str, Any], given: Path | None
) -> dict[str, dict[str, Array]]:
    checkpoint, layers = initial_checkpoint(DISCOGAN, options, given)
    networks: dict[str, dict[str, Array]] = {}
    for (network, name), array in state_for(framework, checkpoint, layers):
        networks.setdefault(network, {})[name] = array
    return networks
