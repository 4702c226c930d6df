"""A small pair with what DiscoGAN lacks: Embedding, square Linear, a bias before BatchNorm, an idle layer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from converter import LayerSpec
from parity import Implementation, UsageError

_BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
LAYERS = {
    "net.embedding": LayerSpec("Embedding", ("weight",)),
    "net.fc": LayerSpec("Linear", ("weight", "bias")),
    "net.norm": LayerSpec("BatchNorm1d", _BATCH_NORM),
    "net.head": LayerSpec("Linear", ("weight", "bias")),
    "net.idle": LayerSpec("Linear", ("weight", "bias")),
}
SIZE = 6


@dataclass(frozen=True)
class TinyPair:
    name: str = "tiny"
    reference: Implementation = Implementation("torch", "tests.tiny.torch_side:Tiny")
    port: Implementation = Implementation("paddle", "tests.tiny.paddle_side:Tiny")

    def options(self, given: Mapping[str, object]) -> dict[str, object]:
        if given:
            raise UsageError(f"tiny has no option {', '.join(given)}")
        return {}

    def layers(self, options: Mapping[str, object]) -> Mapping[str, LayerSpec]:
        return LAYERS

    def weights(self, options: Mapping[str, object]) -> Mapping[str, Mapping[str, np.ndarray]]:
        draw = np.random.RandomState(0).standard_normal
        state: dict[str, np.ndarray] = {"embedding.weight": draw((SIZE, SIZE))}
        for name in ("fc", "head", "idle"):
            state |= {f"{name}.weight": draw((SIZE, SIZE)), f"{name}.bias": draw(SIZE)}
        state |= {f"norm.{name}": draw(SIZE) for name in ("weight", "bias", "running_mean")}
        state["norm.running_var"] = 0.5 + draw(SIZE) ** 2
        arrays = {name: array.astype(np.float32) for name, array in state.items()}
        return {"net": arrays | {"norm.num_batches_tracked": np.zeros((), np.int64)}}

    def batch(self, options: Mapping[str, object], iteration: int) -> Mapping[str, np.ndarray]:
        random = np.random.RandomState(iteration)
        return {
            "tokens": random.randint(0, SIZE, 16),
            "target": random.standard_normal((16, SIZE)).astype(np.float32),
        }


TINY = TinyPair()
DETACHED = replace(TINY, port=Implementation("paddle", "tests.tiny.paddle_side:Detached"))
USED_IDLE = replace(TINY, port=Implementation("paddle", "tests.tiny.paddle_side:UsedIdle"))
UNTRANSPOSED = replace(TINY, port=Implementation("paddle", "tests.tiny.paddle_side:Untransposed"))
MOMENTUM_SGD = replace(TINY, port=Implementation("paddle", "tests.tiny.paddle_side:MomentumSGD"))
POISONED = replace(TINY, port=Implementation("paddle", "tests.tiny.paddle_side:Poisoned"))
SWAPPED_ROLES = replace(TINY, reference=TINY.port, port=TINY.reference)
TORCH_AGAINST_ITSELF = replace(TINY, port=TINY.reference)


def _both(side: str) -> TinyPair:
    """A pair with the same variant on both sides, which is therefore right."""
    reference, port = (Implementation(f, f"tests.tiny.{f}_side:{side}") for f in ("torch", "paddle"))
    return TinyPair(f"tiny-{side}", reference, port)


def _against(side: str, port: str) -> TinyPair:
    return replace(_both(side), port=Implementation("paddle", f"tests.tiny.paddle_side:{port}"))


class ZeroBiasPair(TinyPair):
    """Biases that begin at zero, as convolutions before BatchNorm often have them."""

    def weights(self, options):
        state = super().weights(options)["net"]
        return {"net": {name: array * (not name.endswith("fc.bias")) for name, array in state.items()}}


SKIPPING = _both("Skipping")
MIXED = _both("Mixed")
VANISHING = _both("Vanishing")
WITH_MOMENTUM = _both("WithMomentum")
TWO_BACKWARDS = _both("TwoBackwards")
ZERO_BIAS = ZeroBiasPair()
WRONG_FIRST = _against("TwoBackwards", "WrongFirst")
MOVED_WHILE_IDLE = _against("Skipping", "MovedWhileIdle")
TWICE = _both("Twice")
OTHER_NETWORKS = _against("Tiny", "OtherNetworks")
NOISY = _against("Tiny", "NoisyStdout")
