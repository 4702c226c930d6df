"""The options of the DiscoGAN loop, with the reference pipeline's values as defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

from weights import Init

__all__ = ["Arch", "ClearGrad", "Mode", "Options"]

_LARGEST_SEED = 2**32 - 1  # what numpy's RandomState takes
Mode = Literal["eval", "train"]
ClearGrad = Literal["stepping", "all"]
Arch = Literal["discogan", "recongan", "gan"]


@dataclass(frozen=True)
class Options:
    """Everything that shapes the DiscoGAN loop. Raises `ValueError` for a value it cannot have."""

    mode: Mode = "eval"
    """Networks in training or evaluation mode; the reference pipeline evaluates."""
    clear_grad: ClearGrad = "stepping"
    """Whose gradients are cleared after a step: the stepping optimizer's, or all."""
    arch: Arch = "discogan"
    """Which losses count: the whole model's, one direction with reconstruction, or a plain GAN's."""
    update_interval: int = 2
    """The discriminators step at every ``update_interval``-th iteration, the generators at the others."""
    rate: float = 0.01
    """Weight of the reconstruction loss against the adversarial ones."""
    batch: int = 4
    """Images per domain."""
    seed_a: int = 42
    """Seed of the fake images of domain A."""
    seed_b: int = 100
    """Seed of the fake images of domain B."""
    seed: int = 0
    """Seed of the initial weights."""
    init: Init = "normal"
    """How the initial weights are drawn."""
    width: int = 64
    """Channels of the first hidden layer; the others are multiples of it."""
    extra_layers: bool = False
    """Give the generators the 100-channel bottleneck."""

    def __post_init__(self) -> None:
        hints = get_type_hints(Options)
        for field in fields(self):
            value, choices = getattr(self, field.name), get_args(hints[field.name])
            if choices and value not in choices:
                raise ValueError(f"{field.name} must be one of {', '.join(choices)}, not {value!r}")
        for name, least in {
            "update_interval": 1,
            "batch": 1,
            "width": 1,
            "seed": 0,
            "seed_a": 0,
            "seed_b": 0,
        }.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("seed_a", "seed_b"):
            if getattr(self, name) > _LARGEST_SEED:
                raise ValueError(f"{name} must be at most {_LARGEST_SEED}, not {getattr(self, name)}")
        if not 0.0 <= self.rate <= 1.0:
            raise ValueError(f"rate must lie between 0 and 1, not {self.rate}")
