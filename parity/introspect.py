"""Asking a side, built in a process of its own, for its layers and its initial weights."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from converter import Knowledge, LayerSpec
from parity.pair import Array, Implementation
from parity.process import Alone, Job

__all__ = ["Introspection", "introspect", "layers_of"]


@dataclass(frozen=True)
class Introspection:
    """What a side's networks are made of, and with."""

    layers: Mapping[str, LayerSpec]
    """By path, with the network's name first."""
    weights: Mapping[str, Mapping[str, Array]]
    """State dicts by network."""


def introspect(side: Implementation, options: Mapping[str, Any]) -> Introspection:
    """Build a side after seeding its generators, and return what it holds.

    Raises `WorkerError` if the side cannot be built.
    """
    with tempfile.TemporaryDirectory(prefix="dgtool-") as folder:
        spool = Path(folder)
        out = spool / "introspection"
        out.mkdir()
        alone = replace(side, place=replace(side.place, processes=1))
        job = Job(alone, options, spool, [], [], spool)
        with Alone("reference", job, spool) as worker:
            worker.ask({"do": "introspect", "out": str(out)})
            worker.finish()
        description = json.loads((out / "description.json").read_text())
        weights: dict[str, dict[str, Array]] = {name: {} for name in description["networks"]}
        with np.load(out / "weights.npz", allow_pickle=False) as stored:
            for key in stored.files:
                network, _, name = key.partition("|")
                weights[network][name] = stored[key]
    return Introspection(layers_of(Knowledge.of_description(description["model"])), weights)


def layers_of(known: Knowledge) -> dict[str, LayerSpec]:
    """Give every layer the tensors that are its own: those of the longest path that leads to them."""
    owned: dict[str, list[str]] = {path: [] for path in known.layers}
    for name, expected in known.tensors.items():
        if expected.optional:
            continue
        parts = name.split(".")
        owner = next(
            (path for cut in range(len(parts) - 1, 0, -1) if (path := ".".join(parts[:cut])) in owned), ""
        )
        owned.setdefault(owner, []).append(name.removeprefix(f"{owner}."))
    return {path: LayerSpec(known.layers[path], tuple(names)) for path, names in owned.items() if path}
