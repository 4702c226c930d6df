"""Pictures: what both sides made of the first sample, for models whose tensors are images.

A picture is what a network is given or gives, of the shape ``[N, 1 or 3, H, W]`` with at least 8 rows and
columns, in the first and in the last iteration whose tensors were recorded. It is called after the network's
call (``generator_A``, ``generator_A (call 2)``, ``generator_A input``), unless the pair has a name for that.
What is given to a network and was seen before (another network's output, the same image) is not kept again.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from converter.messages import say

if TYPE_CHECKING:
    from parity.calls import CallTable, NetworkCall
    from parity.evidence import Iteration
    from parity.pair import Array

__all__ = ["FOLDER", "Picture", "keep_pictures"]

FOLDER = "pictures"
_CHANNELS = (1, 3)
_LEAST = 8
_LARGEST = 256
"""Rows or columns; of a larger image every n-th are shown."""
_MOST = 12
"""How many pictures of an iteration are kept."""
_GREY = 127.5


@dataclass(frozen=True)
class Picture:
    """One image on both sides and their difference, as PNG files in the run's folder."""

    name: str
    """What the pair calls it (``ABA``), or the call that made it (``generator_A (call 2)``)."""
    iteration: int
    dtype: str
    """The run's."""
    reference: str
    """The file's path, relative to the run's folder; the next two as well."""
    port: str
    difference: str
    """Port minus reference, amplified: middle grey where both are equal. Empty if their shapes differ."""
    low: float
    """The value that is black in both sides' files: the reference's smallest."""
    high: float
    """The value that is white there: the reference's largest. (What is no number is black.)"""
    max_abs: float
    """The largest absolute difference, which is black or white in the file of the difference, as is what is
    no number; NaN if there is such, or if the shapes differ."""


@dataclass(frozen=True)
class _Image:
    """What both sides have of one picture: ``[C, H, W]`` each."""

    name: str
    reference: Array
    port: Array


def keep_pictures(
    folder: Path, dtype: str, iterations: Mapping[int, Iteration], names: Mapping[str, str]
) -> tuple[list[Picture], list[str]]:
    """Write the pictures of a run into ``folder / FOLDER``, and return them and what there is to say of them.

    ``names`` are the pair's: by name, what a picture would be called without. Named pictures come first, in
    the pair's order. Nothing is written where there are none.
    """
    recorded = [number for number, each in sorted(iterations.items()) if each.reference.file]
    called = {label: name for name, label in names.items()}
    order = {name: place for place, name in enumerate(names)}
    pictures: list[Picture] = []
    notes: list[str] = []
    for number in dict.fromkeys((*recorded[:1], *recorded[-1:])):
        found = list(_images(iterations[number].reference, iterations[number].port, called))
        if found and importlib.util.find_spec("PIL") is None:
            return [], [say("no pictures: Pillow is not installed (it comes with dgtool[report])")]
        found.sort(key=lambda image: order.get(image.name, len(order)))
        if len(found) > _MOST:
            notes.append(
                say(
                    "{most} pictures of iteration {iteration} are kept; there are {count}",
                    most=_MOST,
                    iteration=number,
                    count=len(found),
                )
            )
        for place, image in enumerate(found[:_MOST]):
            pictures.append(_written(folder, f"{FOLDER}/{number:04}-{place:02}", image, number, dtype))
    return pictures, notes


def _images(reference: CallTable, port: CallTable, called: Mapping[str, str]) -> Iterator[_Image]:
    """Yield what networks are given and give, in the order of their calls."""
    theirs = {call.label: call for call in port.network_calls}
    seen: set[tuple[bytes, bytes]] = set()
    for call in reference.network_calls:
        twin = theirs.get(call.label)
        if twin is None:
            continue
        for entry, other, label in _tensors(call, twin):
            sides = reference.place_of(entry), port.place_of(other)
            if not all(_is_image(shape, kind) for *_, kind, shape in sides):
                continue
            ours, his = reference.read(sides[0])[0], port.read(sides[1])[0]
            content = ours.tobytes(), his.tobytes()
            if content in seen and label.startswith(f"{call.label} input"):
                continue
            seen.add(content)
            yield _Image(called.get(label, label), ours, his)


def _tensors(call: NetworkCall, twin: NetworkCall) -> Iterator[tuple[Mapping[str, Any], Any, str]]:
    for what, ours, theirs in (
        (" input", call.inputs, twin.inputs),
        (" output" if len(call.outputs) > 1 else "", call.outputs, twin.outputs),
    ):
        for position, pair in enumerate(zip(ours, theirs, strict=False)):
            yield (*pair, f"{call.label}{what}{f' {position}' if len(ours) > 1 else ''}")


def _is_image(shape: tuple[int, ...], dtype: str) -> bool:
    if len(shape) != 4 or np.dtype(dtype).kind != "f":
        return False
    return shape[0] > 0 and shape[1] in _CHANNELS and min(shape[2:]) >= _LEAST


def _written(folder: Path, stem: str, image: _Image, iteration: int, dtype: str) -> Picture:
    low, high = _range_of(image.reference)
    paths = {side: f"{stem}-{side}.png" for side in ("reference", "port", "difference")}
    (folder / FOLDER).mkdir(exist_ok=True)
    for side in ("reference", "port"):
        values = _thinned(np.asarray(getattr(image, side), np.float64))
        with np.errstate(invalid="ignore", over="ignore"):
            _write(folder / paths[side], (np.nan_to_num(values, nan=low) - low) / (high - low) * 255)
    largest = math.nan
    if image.reference.shape == image.port.shape:
        largest = _write_difference(folder / paths["difference"], image)
    else:
        paths["difference"] = ""
    return Picture(image.name, iteration, dtype, **paths, low=low, high=high, max_abs=largest)


def _range_of(array: Array) -> tuple[float, float]:
    """Return the smallest and the largest number of an array, apart even if all are the same."""
    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def _write_difference(path: Path, image: _Image) -> float:
    """Write port minus reference, and return the largest absolute difference."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = image.port.astype(np.float64) - image.reference.astype(np.float64)
    finite = np.isfinite(difference)
    largest = float(np.abs(difference[finite]).max(initial=0.0))
    shown = np.where(finite, difference / (largest or 1.0), 1.0)
    _write(path, _GREY + _GREY * _thinned(shown, largest=True))
    return largest if finite.all() else math.nan


def _thinned(values: npt.NDArray[np.float64], *, largest: bool = False) -> npt.NDArray[np.float64]:
    """Return an image ``[C, H, W]`` of at most `_LARGEST` rows and columns.

    Of each square of pixels the first stays, or the ``largest`` by its absolute value.
    """
    step = -(-max(values.shape[1:]) // _LARGEST)
    if step == 1:
        return values
    if not largest:
        return values[:, ::step, ::step]
    channels, height, width = values.shape
    padded = np.pad(values, ((0, 0), (0, -height % step), (0, -width % step)))
    squares = padded.reshape(channels, -(-height // step), step, -(-width // step), step)
    squares = squares.transpose(0, 1, 3, 2, 4).reshape(*squares.shape[:2], squares.shape[3], -1)
    at = np.abs(squares).argmax(axis=-1, keepdims=True)
    return np.take_along_axis(squares, at, axis=-1)[..., 0]


def _write(path: Path, levels: npt.NDArray[np.float64]) -> None:
    """Write an image ``[C, H, W]`` of levels from 0 to 255 as PNG."""
    from PIL import Image

    pixels = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)).save(path)
