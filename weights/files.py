"""The initial weights as files, with the checksums on record."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import ModuleType

from converter import ConverterError, UsageError
from converter.formats import safetensors, torch
from converter.formats._atomic import atomic_path
from weights.recipe import Init, initial_weights

__all__ = ["ChecksumError", "Written", "recorded_checksums", "write_weights"]

_FORMATS: dict[str, ModuleType] = {"discogan.pth": torch, "discogan.safetensors": safetensors}
_RECORD = "SHA256SUMS"


class ChecksumError(ConverterError):
    """Weights drawn here do not have the bytes on record."""


@dataclass(frozen=True)
class Written:
    """One file that was written."""

    path: Path
    sha256: str
    on_record: bool
    """Whether there is a checksum on record for it; if so, it agreed."""


def recorded_checksums() -> dict[str, str]:
    """Read ``weights/SHA256SUMS``: checksums by ``recipe/file``, as in ``normal/discogan.pth``."""
    lines = files("weights").joinpath(_RECORD).read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def write_weights(
    folder: Path,
    *,
    seed: int = 0,
    width: int = 64,
    extra_layers: bool = False,
    init: Init = "normal",
    force: bool = False,
) -> list[Written]:
    """Draw the weights and write them in every format: all of the files, or none.

    Raises `ChecksumError` if weights of seed 0 and width 64 are not the bytes on record (then this
    machine's arithmetic or numpy is not what the recipe relies on), and `UsageError` if a file of
    other content is there already and ``force`` is not given.
    """
    networks = initial_weights(seed, width, extra_layers, init)
    tensors = [
        ((network, name), array) for network, state in networks.items() for name, array in state.items()
    ]
    recorded = recorded_checksums() if (seed, width) == (0, 64) else {}
    recipe = f"{init}{'-extra-layers' if extra_layers else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with ExitStack() as files_in_place:
        for name, module in _FORMATS.items():
            path = folder / name
            partial = files_in_place.enter_context(atomic_path(path))
            with partial.open("wb") as file:
                module.write(file, "torch", tensors)
            digest = _sha256(partial)
            expected = recorded.get(f"{recipe}/{name}")
            if expected is not None and digest != expected:
                raise ChecksumError(
                    f"{name}: SHA-256 is {digest}, on record is {expected}; nothing was written"
                )
            if path.exists() and not force and _sha256(path) != digest:
                raise UsageError(f"{path} exists and holds something else; add --force to replace it")
            written.append(Written(path, digest, expected is not None))
    return written


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
