"""DiscoGAN as a pair: the description that the toolkit works from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from converter import LayerSpec
from DG_pair.options import Options
from parity.errors import UsageError
from parity.pair import Implementation
from weights import discogan_layers, initial_weights

__all__ = ["DISCOGAN", "DiscoGANPair", "fake_images"]


def fake_images(seed: int, batch: int) -> npt.NDArray[np.float32]:
    """Draw images ``[batch, 3, 64, 64]`` from N(0, 1), as the reference pipeline's fake data."""
    return np.random.RandomState(seed).randn(batch, 3, 64, 64).astype(np.float32)


_PICTURES = {
    "A": "generator_A input",
    "AB": "generator_B",
    "ABA": "generator_A (call 2)",
    "B": "generator_B input",
    "BA": "generator_A",
    "BAB": "generator_B (call 2)",
}
_REFERENCE = Implementation("torch", "DG_torch.bp_DG:DiscoGAN")
_PORT = Implementation("paddle", "DG_paddle.bp_DG:DiscoGAN")


@dataclass(frozen=True)
class DiscoGANPair:
    """The built-in pair. Replace ``port`` to try another Paddle side against the same reference."""

    name: str = "discogan"
    reference: Implementation = _REFERENCE
    port: Implementation = _PORT
    pictures: ClassVar[Mapping[str, str]] = _PICTURES
    """What the paper calls the images that the generators take and make."""

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Complete and check the options. Raises `UsageError`."""
        unknown = given.keys() - {field.name for field in fields(Options)}
        if unknown:
            raise UsageError(f"DiscoGAN has no option {', '.join(sorted(unknown))}")
        try:
            return asdict(Options(**given))
        except ValueError as error:
            raise UsageError(str(error)) from error

    def layers(self, options: Mapping[str, Any]) -> dict[str, LayerSpec]:
        """Return every layer that holds tensors, by ``network.path``."""
        given = Options(**options)
        networks = discogan_layers(given.width, given.extra_layers)
        return {
            f"{network}.{path}": LayerSpec(layer.type, tuple(layer.shapes))
            for network, layers in networks.items()
            for path, layer in layers.items()
        }

    def weights(self, options: Mapping[str, Any]) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Draw the seeded initial weights."""
        given = Options(**options)
        return initial_weights(given.seed, given.width, given.extra_layers, given.init)

    def batch(self, options: Mapping[str, Any], iteration: int) -> dict[str, npt.NDArray[Any]]:
        """Return the fake images of both domains, the same in every iteration."""
        given = Options(**options)
        return {"A": fake_images(given.seed_a, given.batch), "B": fake_images(given.seed_b, given.batch)}


DISCOGAN = DiscoGANPair()
