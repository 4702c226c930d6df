"""Initial weights for both sides, from a pair's own or from anyone's checkpoint.

Workers load only files that were written here: a stranger's checkpoint goes through the converter's
readers, which run nothing in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from converter import (
    Checkpoint,
    Knowledge,
    LayerSpec,
    Request,
    TensorInfo,
    converted,
    framework_of,
    make_plan,
    open_checkpoint,
)
from converter.checkpoint import KeyPath, dotted
from converter.formats import format_of
from parity.pair import Array, Framework, Pair

__all__ = ["initial_checkpoint", "matched_weights", "state_for"]

_SUFFIX: dict[Framework, str] = {"torch": ".pth", "paddle": ".pdparams"}


def initial_checkpoint(pair: Pair, options: Mapping[str, Any], given: Path | None) -> Checkpoint:
    """Open the given checkpoint, or present the pair's seeded weights as one.

    Raises the converter's errors for a file that cannot be read.
    """
    if given is not None:
        return open_checkpoint(given)
    arrays: dict[KeyPath, Array] = {
        (network, name): array
        for network, state in pair.weights(options).items()
        for name, array in state.items()
    }
    tensors = {
        dotted(path): TensorInfo(path, array.dtype, array.shape, array) for path, array in arrays.items()
    }
    return Checkpoint(Path("seeded weights"), "torch", tensors)


def state_for(
    framework: Framework, checkpoint: Checkpoint, layers: Mapping[str, LayerSpec]
) -> Iterator[tuple[KeyPath, Array]]:
    """Yield the tensors as ``framework`` wants them, under (network, name).

    The network is the first part of a layer's path, whether the checkpoint nests or not. Raises
    `converter.PlanError` unless the checkpoint holds exactly the tensors of ``layers``.
    """
    source = framework_of(checkpoint)
    plan = make_plan(checkpoint.tensors, source, Request(Knowledge.of_layers(layers)))
    tensors = (
        ((info.path, checkpoint.read(name)) for name, info in checkpoint.tensors.items())
        if source == framework
        else converted(plan)
    )
    for path, array in tensors:
        network, _, name = dotted(path).partition(".")
        yield (network, name), array


def matched_weights(
    pair: Pair, options: Mapping[str, Any], given: Path | None, folder: Path
) -> dict[Framework, Path]:
    """Write the initial weights for each framework that the pair uses and return the files.

    Raises the converter's errors when ``given`` cannot be read or does not hold exactly the pair's
    layers.
    """
    checkpoint = initial_checkpoint(pair, options, given)
    needed: set[Framework] = {pair.reference.framework, pair.port.framework}
    files = {framework: folder / f"weights{_SUFFIX[framework]}" for framework in needed}
    for framework, path in files.items():
        with path.open("wb") as file:
            format_of(path).write(file, framework, state_for(framework, checkpoint, pair.layers(options)))
    return files
