"""The DiscoGAN networks as data: every layer's type and tensors, without a framework.

The initial weights are drawn from this table and the converter takes its layer types from it.
That it describes the networks of ``DG_torch/model.py`` and ``DG_paddle/model.py`` is a test's
business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["NETWORKS", "Layer", "discogan_layers"]

NETWORKS = ("generator_A", "generator_B", "discriminator_A", "discriminator_B")


@dataclass(frozen=True)
class Layer:
    """A layer that holds tensors: its Torch class, and its tensors' shapes by Torch name."""

    type: str
    shapes: Mapping[str, tuple[int, ...]]


def _conv(source: int, target: int) -> Layer:
    return Layer("Conv2d", {"weight": (target, source, 4, 4)})


def _deconv(source: int, target: int) -> Layer:
    return Layer("ConvTranspose2d", {"weight": (source, target, 4, 4)})


def _norm(channels: int) -> Layer:
    names = ("weight", "bias", "running_mean", "running_var")
    return Layer("BatchNorm2d", {**dict.fromkeys(names, (channels,)), "num_batches_tracked": ()})


def _generator(width: int, extra_layers: bool) -> Iterator[Layer | None]:
    """Yield the items of the Sequential ``main`` in order; None for one without tensors."""
    w = width
    yield from (_conv(3, w), None)
    for source, target in ((w, w * 2), (w * 2, w * 4), (w * 4, w * 8)):
        yield from (_conv(source, target), _norm(target), None)
    if extra_layers:
        yield from (_conv(w * 8, 100), _norm(100), None)
        yield from (_deconv(100, w * 8), _norm(w * 8), None)
    for source, target in ((w * 8, w * 4), (w * 4, w * 2), (w * 2, w)):
        yield from (_deconv(source, target), _norm(target), None)
    yield from (_deconv(w, 3), None)


def _discriminator(width: int) -> Iterator[tuple[str, Layer]]:
    w = width
    yield "conv1", _conv(3, w)
    for number, (source, target) in enumerate(((w, w * 2), (w * 2, w * 4), (w * 4, w * 8)), start=2):
        yield f"conv{number}", _conv(source, target)
        yield f"bn{number}", _norm(target)
    yield "conv5", _conv(w * 8, 1)


def discogan_layers(width: int = 64, extra_layers: bool = False) -> dict[str, dict[str, Layer]]:
    """Return the layers that hold tensors, by network and path, in the order of the state dicts."""
    generator = {
        f"main.{index}": layer
        for index, layer in enumerate(_generator(width, extra_layers))
        if layer is not None
    }
    discriminator = dict(_discriminator(width))
    return {name: generator if name.startswith("generator") else discriminator for name in NETWORKS}
