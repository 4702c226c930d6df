"""The pairs that mistakes are planted in: ``--pair tests.defects.pairs:MIXED``.

Each has an option ``defect``, a list of the catalogue's ids, that only its Paddle side obeys.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter import LayerSpec
from DG_pair import DISCOGAN
from parity import Implementation, UsageError
from parity.pair import Array

Given = Mapping[str, Any]
Specs = dict[str, tuple[LayerSpec, tuple[tuple[int, ...], ...]]]
"""By path: the layer, and its tensors' shapes in the order of their names."""


@dataclass(frozen=True)
class CasePair:
    """A pair made of plain functions."""

    name: str
    reference: Implementation
    port: Implementation
    options: Callable[[Given], dict[str, Any]]
    layers: Callable[[Given], Mapping[str, LayerSpec]]
    weights: Callable[[Given], Mapping[str, Mapping[str, Array]]]
    batch: Callable[[Given, int], Mapping[str, Array]]


def _without_defect(options: Given) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "defect"}


def _defects(given: Given) -> list[str]:
    defects = given.get("defect") or []
    if not isinstance(defects, list) or not all(isinstance(each, str) for each in defects):
        raise UsageError(f"defect is a list of the catalogue's ids, not {defects!r}")
    return defects


def _discogan_options(given: Given) -> dict[str, Any]:
    """Complete DiscoGAN's options, with a small width and batch unless others are given."""
    chosen = {"width": 8, "batch": 2, **_without_defect(given)}
    return {**DISCOGAN.options(chosen), "defect": _defects(given)}


DISCOGAN_CASE = CasePair(
    "discogan-defects",
    Implementation("torch", "tests.defects.discogan_torch:build"),
    Implementation("paddle", "tests.defects.planting:discogan"),
    _discogan_options,
    lambda options: DISCOGAN.layers(_without_defect(options)),
    lambda options: DISCOGAN.weights(_without_defect(options)),
    lambda options, iteration: DISCOGAN.batch(_without_defect(options), iteration),
)


def _choose(net: str, given: Given, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Complete options: a tuple lists an option's possible values, the first being its default."""
    unknown = given.keys() - choices.keys() - {"defect"}
    if unknown:
        raise UsageError(f"{net} has no option {', '.join(sorted(unknown))}")
    chosen = {
        name: default[0] if isinstance(default, tuple) else default for name, default in choices.items()
    }
    chosen |= _without_defect(given)
    for name, default in choices.items():
        if isinstance(default, tuple) and chosen[name] not in default:
            raise UsageError(f"{name} must be one of {', '.join(default)}, not {chosen[name]!r}")
    return {**chosen, "defect": _defects(given)}


def _mixed_specs(width: int) -> Specs:
    w, size = width, 2 * width
    both = ("weight", "bias")

    def norm(channels: int) -> tuple[LayerSpec, tuple[tuple[int, ...], ...]]:
        names = (*both, "running_mean", "running_var", "num_batches_tracked")
        return LayerSpec("BatchNorm2d", names), (*[(channels,)] * 4, ())

    def linear(source: int, target: int) -> tuple[LayerSpec, tuple[tuple[int, ...], ...]]:
        return LayerSpec("Linear", both), ((target, source), (target,))

    lstm = tuple(f"{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return {
        "net.encoder.stem": (LayerSpec("Conv2d", both), ((w, 3, 3, 3), (w,))),
        "net.encoder.norm": norm(w),
        "net.encoder.block.conv": (LayerSpec("Conv2d", both), ((w, w, 3, 3), (w,))),
        "net.encoder.block.norm": norm(w),
        "net.encoder.down": (LayerSpec("Conv2d", both), ((w, w, 3, 3), (w,))),
        "net.decoder.deconv": (LayerSpec("ConvTranspose2d", both), ((w, 3, 4, 4), (3,))),
        "net.text.embedding": (LayerSpec("Embedding", ("weight",)), ((size, size),)),
        "net.text.lstm": (LayerSpec("LSTM", lstm), ((4 * size, size),) * 2 + ((4 * size,),) * 2),
        **{f"net.text.attention.{name}": linear(size, size) for name in ("q", "k", "v", "out")},
        "net.text.norm": (LayerSpec("LayerNorm", both), ((size,), (size,))),
        "net.text.fc": linear(size, size),
        "net.fuse": linear(3 * w, size),
        "net.head": linear(size, 5),
    }


def _draw(random: np.random.RandomState, name: str, shape: tuple[int, ...]) -> Array:
    """Draw a tensor by its name: sizes of a trained net, and no value that is another's by accident."""
    if name == "num_batches_tracked":
        return np.zeros((), np.int64)
    if name == "running_var":
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    if name == "weight" and len(shape) == 1:
        return random.uniform(0.7, 1.3, shape).astype(np.float32)
    spread = 0.1 if len(shape) == 1 else 1.0 / np.sqrt(np.prod(shape[1:]))
    return (spread * random.standard_normal(shape)).astype(np.float32)


def _state(specs: Specs, seed: int) -> dict[str, dict[str, Array]]:
    random = np.random.RandomState(seed)
    return {
        "net": {
            f"{path.removeprefix('net.')}.{name}": _draw(random, name, shape)
            for path, (spec, shapes) in specs.items()
            for name, shape in zip(spec.tensors or (), shapes, strict=True)
        }
    }


_UNUSED = 3
"""How many rows of the embedding, the first ones, no token uses."""


def _mixed_batch(options: Given, iteration: int) -> dict[str, Array]:
    """Images that are smooth but for noise, tokens and labels; others in every iteration."""
    random = np.random.RandomState(1000 * options["seed"] + iteration)
    count = options["batch"]
    return {
        "image": (0.5 * random.standard_normal((count, 3, 16, 16)) + 0.2).astype(np.float32),
        "tokens": random.randint(_UNUSED, 2 * options["width"], (count, 5)),
        "label": random.randint(0, 5, count),
    }


def _mixed_options(given: Given) -> dict[str, Any]:
    choices = {
        "seed": 0,
        "width": 8,
        "batch": 4,
        "mode": ("train", "eval"),
        "optimizer": ("adam", "adamw", "sgd"),
    }
    return _choose("mixed", given, choices)


MIXED = CasePair(
    "mixed",
    Implementation("torch", "tests.defects.mixed_torch:MixedSide"),
    Implementation("paddle", "tests.defects.planting:mixed"),
    _mixed_options,
    lambda options: {path: spec for path, (spec, _) in _mixed_specs(options["width"]).items()},
    lambda options: _state(_mixed_specs(options["width"]), options["seed"]),
    _mixed_batch,
)


def _known_specs(options: Given) -> Specs:
    size, both = options["size"], ("weight", "bias")
    outputs = 1 if options["case"] == "bce" else size
    return {
        "net.fc": (LayerSpec("Linear", both), ((size, size), (size,))),
        "net.head": (LayerSpec("Linear", both), ((outputs, size), (outputs,))),
    }


def _known_weights(options: Given) -> dict[str, dict[str, Array]]:
    """Draw the weights, with what brings the case's difference about."""
    state = _state(_known_specs(options), options["seed"])["net"]
    if options["case"] == "bce":  # a head that begins at zero
        state |= {name: 0.0 * array for name, array in state.items() if name.startswith("head")}
    if options["case"] == "slope":
        state["fc.bias"] *= 0.0
    if options["case"] == "ties":  # two outputs that are each other's double
        state["head.weight"][1], state["head.bias"][:2] = state["head.weight"][0], 3.0
    return {"net": state}


def _known_batch(options: Given, iteration: int) -> dict[str, Array]:
    random = np.random.RandomState(1000 * options["seed"] + iteration)
    count, size = 8, options["size"]
    batch = {name: random.standard_normal((count, size)).astype(np.float32) for name in ("x", "target")}
    batch["values"] = batch["target"][:, 0]
    batch["truth"] = random.randint(0, 2, (count, 1)).astype(np.float32)
    batch["label"] = random.randint(0, size, count)
    batch["label"][::4] = -100
    if options["case"] == "slope":  # a padded sample
        batch["x"][::4] = 0.0
    return batch


KNOWN_CASES = ("bce", "ignored", "rmsprop", "slope", "ties")
KNOWN = CasePair(
    "known",
    Implementation("torch", "tests.defects.known_torch:KnownSide"),
    Implementation("paddle", "tests.defects.known_paddle:KnownSide"),
    lambda given: _choose("known", given, {"case": KNOWN_CASES, "seed": 0, "size": 6}),
    lambda options: {path: spec for path, (spec, _) in _known_specs(options).items()},
    _known_weights,
    _known_batch,
)

PAIRS = {"discogan": DISCOGAN_CASE, "mixed": MIXED, "known": KNOWN}
"""By the catalogue's name of the net."""


def example_inputs(net: str, options: Given) -> dict[str, list[Array]]:
    """Return what each network's ``forward`` is given first, as tools that run networks alone want it."""
    batch = PAIRS[net].batch(options, 0)
    if net == "discogan":
        return {
            f"{network}_{domain}": [batch[domain]]
            for network in ("generator", "discriminator")
            for domain in "AB"
        }
    return {"net": [batch["image"], batch["tokens"]] if net == "mixed" else [batch["x"]]}
