"""What both sides start from: weights, a pair's own or anyone's checkpoint, and the batches.

Workers load only files that were written here: a stranger's checkpoint goes through the converter's
readers, which run nothing in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from converter import (
    Checkpoint,
    Knowledge,
    LayerSpec,
    Request,
    RuleFile,
    TensorInfo,
    converted,
    framework_of,
    make_plan,
    open_checkpoint,
)
from converter.checkpoint import KeyPath, dotted
from converter.formats import format_of
from converter.messages import say
from parity.errors import UsageError
from parity.pair import Array, Framework, Pair
from parity.renaming import Rules, rules_for, rules_of

__all__ = [
    "batch_files",
    "initial_checkpoint",
    "known_of",
    "matched_weights",
    "state_for",
    "weights_file",
    "write_batches",
]

_SUFFIX: dict[Framework, str] = {"torch": ".pth", "paddle": ".pdparams"}


def initial_checkpoint(
    pair: Pair, options: Mapping[str, Any], given: Path | None
) -> tuple[Checkpoint, Mapping[str, LayerSpec]]:
    """Open the given checkpoint, or present the pair's seeded weights as one; with the pair's layers.

    A recording of a Torch side (`parity.recording`) stands for the weights that it started from, and knows
    its layers. A bare state dict will do for a pair with one network. Raises the converter's errors for a
    file that cannot be read.
    """
    if given is None:
        return _in_memory(pair.weights(options)), pair.layers(options)
    from parity.recording import FILE, Recording

    if (given / FILE).is_file():
        recorded = Recording.open(given)
        if recorded.framework != "torch":
            raise UsageError(say("{given}: weights are taken from a recording of a Torch side", given=given))
        return _in_memory(recorded.initial_state()), recorded.layers()
    layers = pair.layers(options)
    return _within_network(open_checkpoint(given), layers), layers


def _within_network(checkpoint: Checkpoint, layers: Mapping[str, LayerSpec]) -> Checkpoint:
    network = bare_network(checkpoint, layers)
    if not network:
        return checkpoint
    moved = (replace(info, path=(network, *info.path)) for info in checkpoint.tensors.values())
    return replace(checkpoint, tensors={info.name: info for info in moved})


def bare_network(checkpoint: Checkpoint, layers: Mapping[str, LayerSpec]) -> str:
    """Return the network whose bare state dict a checkpoint is: the only one, whose name no tensor has."""
    networks = {path.partition(".")[0] for path in layers}
    if len(networks) != 1 or networks & {name.partition(".")[0] for name in checkpoint.tensors}:
        return ""
    return networks.pop()


def known_of(pair: Pair, options: Mapping[str, Any], checkpoint: Checkpoint) -> tuple[Knowledge, RuleFile]:
    """Return what a pair knows of a checkpoint's layers, and its rules, under the checkpoint's names."""
    layers = pair.layers(options)
    network = bare_network(checkpoint, layers)
    if network:
        layers = {path.removeprefix(f"{network}."): spec for path, spec in layers.items() if path != network}
        rules = rules_for(rules_of(pair), network)
    else:
        rules = _together(layers, rules_of(pair))
    return Knowledge.of_layers(layers, say("pair {name}", name=pair.name)), rules


def _together(layers: Mapping[str, LayerSpec], rules: Rules) -> RuleFile:
    """Join the networks' rules, each under its network's name."""
    networks = dict.fromkeys(path.partition(".")[0] for path in layers)
    ruled = [rules_for(rules, network).under(network) for network in networks]
    return RuleFile(
        tuple(rule for each in ruled for rule in each.rules),
        tuple(layer for each in ruled for layer in each.layers),
        {name: kind for each in ruled for name, kind in each.types.items()},
    )


def _in_memory(state: Mapping[str, Mapping[str, Array]]) -> Checkpoint:
    arrays: dict[KeyPath, Array] = {
        (network, name): array for network, entries in state.items() for name, array in entries.items()
    }
    tensors = {
        dotted(path): TensorInfo(path, array.dtype, array.shape, array) for path, array in arrays.items()
    }
    return Checkpoint(Path("seeded weights"), "torch", tensors)


def state_for(
    framework: Framework,
    checkpoint: Checkpoint,
    layers: Mapping[str, LayerSpec],
    rules: Rules | None = None,
) -> Iterator[tuple[KeyPath, Array]]:
    """Yield the tensors as ``framework`` wants them, under (network, name).

    The network is the first part of a layer's path, whether the checkpoint nests or not. ``rules`` are the
    user's, for a port with names of its own. Raises
    `converter.PlanError` unless the checkpoint holds exactly the tensors of ``layers``.
    """
    source = framework_of(checkpoint)
    plan = make_plan(
        checkpoint.tensors, source, Request(Knowledge.of_layers(layers), _together(layers, rules or {}))
    )
    tensors = (
        ((info.path, checkpoint.read(name)) for name, info in checkpoint.tensors.items())
        if source == framework
        else converted(plan)
    )
    for path, array in tensors:
        network, _, name = dotted(path).partition(".")
        yield (network, name), array


def weights_file(folder: Path, framework: Framework) -> Path:
    """Return where `matched_weights` writes a framework's."""
    return folder / f"weights{_SUFFIX[framework]}"


def batch_files(folder: Path, iters: int) -> list[Path]:
    """Return where `write_batches` writes."""
    return [folder / f"batch-{iteration:04}.npz" for iteration in range(iters)]


def matched_weights(
    pair: Pair,
    options: Mapping[str, Any],
    given: Path | None,
    folder: Path,
    needed: Collection[Framework],
) -> dict[Framework, Path]:
    """Write the initial weights for each framework that is needed and return the files.

    Raises the converter's errors when ``given`` cannot be read or does not hold exactly the pair's
    layers.
    """
    checkpoint, layers = initial_checkpoint(pair, options, given)
    files = {framework: weights_file(folder, framework) for framework in needed}
    for framework, path in files.items():
        with path.open("wb") as file:
            format_of(path).write(file, framework, state_for(framework, checkpoint, layers, rules_of(pair)))
    return files


def write_batches(pair: Pair, options: Mapping[str, Any], iters: int, folder: Path) -> list[Path]:
    """Write the pair's batches, one file an iteration, and return the files."""
    paths = batch_files(folder, iters)
    for iteration, path in enumerate(paths):
        np.savez(path, **pair.batch(options, iteration))  # type: ignore[arg-type]  # names are no flags
    return paths
