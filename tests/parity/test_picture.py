"""Pictures: which tensors are some, and what their pixels say."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from parity.calls import Aligned, CallTable
from parity.evidence import Iteration
from parity.picture import keep_pictures
from parity.tensor_file import TensorFile

RANDOM = np.random.RandomState(0)
NAMES = {"after": "net", "before": "net input"}


def image(*shape):
    return RANDOM.standard_normal(shape or (2, 3, 8, 9))


@pytest.fixture
def iteration(tmp_path):
    """Make an iteration in which networks were called: lists of what they were given and gave, by side."""

    def make(reference, port, number=0, networks=None):
        tables = []
        for role, calls in (("reference", reference), ("port", port)):
            file = TensorFile(tmp_path / f"{role}-{number}")
            recorded = [
                {
                    "network": networks[nth] if networks else "net",
                    "first": nth == 0,
                    "training": True,
                    "inputs": [{"at": file.add(array), "grad": False} for array in inputs],
                    "outputs": [{"at": file.add(array), "grad": False} for array in outputs],
                }
                for nth, (inputs, outputs) in enumerate(calls)
            ]
            file.close()
            message = {"iteration": number, "calls": [], "file": str(file.path), "network_calls": recorded}
            tables.append(CallTable.from_message(message))
        return Iteration(*tables, Aligned((), (), (), {}))

    return make


def kept(tmp_path, *iterations, names=None):
    numbered = {each.reference.iteration: each for each in iterations}
    return keep_pictures(tmp_path / "run", "float64", numbered, names or {})


def pixels(tmp_path, path):
    """Levels [C, H, W] of a file."""
    found = np.asarray(Image.open(tmp_path / "run" / path), float)
    return found[None] if found.ndim == 2 else np.moveaxis(found, -1, 0)


@pytest.fixture(autouse=True)
def _run(tmp_path):
    (tmp_path / "run").mkdir()


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_the_values_of_the_first_sample(tmp_path, iteration, channels):
    reference = image(2, channels, 8, 9)
    port = reference + 0.01 * image(2, channels, 8, 9)
    (found,), notes = kept(tmp_path, iteration([([], [reference])], [([], [port])]))
    first, other = reference[0], port[0]
    assert (found.name, found.iteration, found.dtype, notes) == ("net", 0, "float64", [])
    assert (found.low, found.high) == (first.min(), first.max())
    assert found.max_abs == np.abs(other - first).max()
    half = 0.5 + 1e-9
    for side, array in (("reference", first), ("port", other)):
        levels = (array - found.low) / (found.high - found.low) * 255
        drawn = pixels(tmp_path, getattr(found, side))
        assert drawn.shape == (channels, 8, 9)
        assert np.abs(drawn - levels.clip(0, 255)).max() <= half
    drawn = pixels(tmp_path, found.difference)
    assert np.abs(drawn - (127.5 + (other - first) / found.max_abs * 127.5)).max() <= half
    at = np.unravel_index(np.abs(other - first).argmax(), first.shape)
    assert drawn[at] == (255 if other[at] > first[at] else 0)


def test_equal_images_differ_by_grey(tmp_path, iteration):
    same = image()
    (found,), _ = kept(tmp_path, iteration([([], [same])], [([], [same.copy()])]))
    assert found.max_abs == 0.0
    assert set(pixels(tmp_path, found.difference).ravel()) == {128}
    flat = np.full((1, 1, 8, 8), 3.0)
    (found,), _ = kept(tmp_path, iteration([([], [flat])], [([], [flat])]))
    assert found.low < 3.0 < found.high


@pytest.mark.parametrize(
    "array",
    [
        image(2, 4, 8, 8),
        image(2, 3, 7, 8),
        image(3, 8, 8),
        image(0, 3, 8, 8),
        np.ones((2, 3, 8, 8), int),
        np.ones((2, 1, 8, 8), bool),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_what_is_no_image_is_not_kept(tmp_path, iteration, array):
    assert kept(tmp_path, iteration([([array], [array])], [([array], [array])])) == ([], [])
    assert list((tmp_path / "run").iterdir()) == []


def test_names_are_the_pair_s_and_labels_without(tmp_path, iteration):
    a, b, c, d = (image() for _ in range(4))
    calls = [([a], [b]), ([b], [c]), ([d, a], [image(), image()])]
    made = iteration(calls, calls, networks=["net", "net", "other"])
    labels = [each.name for each in kept(tmp_path, made)[0]]
    assert labels == ["net input", "net", "net (call 2)", "other input 0", "other output 0", "other output 1"]
    named = kept(tmp_path, made, names={**NAMES, "nowhere": "gone"})[0]
    assert [each.name for each in named] == ["after", "before", *labels[2:]]
    assert np.ptp(pixels(tmp_path, named[0].reference) - pixels(tmp_path, named[0].port)) == 0
    levels = (b[0] - b[0].min()) / np.ptp(b[0]) * 255
    assert np.abs(pixels(tmp_path, named[0].reference) - levels).max() < 0.51


def test_an_output_like_its_input_is_kept_and_an_input_that_only_one_side_has_seen(tmp_path, iteration):
    a, b = image(), image()
    found, _ = kept(tmp_path, iteration([([a], [a]), ([a], [b])], [([a], [a]), ([b], [b])]))
    assert [each.name for each in found] == ["net input", "net", "net (call 2) input", "net (call 2)"]


def test_shapes_that_differ_have_no_difference(tmp_path, iteration):
    (found,), _ = kept(tmp_path, iteration([([], [image(2, 3, 8, 8)])], [([], [image(2, 1, 9, 8)])]))
    assert (found.difference, np.isnan(found.max_abs)) == ("", True)
    assert pixels(tmp_path, found.port).shape == (1, 9, 8)


def test_what_is_no_number_shows_and_is_never_equal(tmp_path, iteration):
    reference = image(1, 1, 8, 8)
    port = reference.copy()
    port[0, 0, 2, 3], port[0, 0, 4, 5], port[0, 0, 6, 7] = np.nan, np.inf, reference[0, 0, 6, 7] - 1
    (found,), _ = kept(tmp_path, iteration([([], [reference])], [([], [port])]))
    assert np.isnan(found.max_abs)
    difference, drawn = pixels(tmp_path, found.difference)[0], pixels(tmp_path, found.port)[0]
    assert (difference[2, 3], difference[4, 5], difference[6, 7], difference[0, 0]) == (255, 255, 0, 128)
    assert (drawn[2, 3], drawn[4, 5]) == (0, 255)
    (found,), _ = kept(tmp_path, iteration([([], [port * np.nan])], [([], [port])]))
    assert np.isfinite([found.low, found.high]).all()


def test_a_large_image_is_thinned_and_the_worst_pixel_stays(tmp_path, iteration):
    reference = image(1, 1, 700, 300)
    port = reference.copy()
    port[0, 0, 699, 299] += 2.0
    port[0, 0, 0, 0] -= 1.0
    (found,), _ = kept(tmp_path, iteration([([], [reference])], [([], [port])]))
    assert pixels(tmp_path, found.reference).shape == (1, 234, 100)
    difference = pixels(tmp_path, found.difference)[0]
    assert difference.shape == (234, 100)
    assert (difference[-1, -1], difference[0, 0], difference[1, 1]) == (255, 64, 128)


def test_the_first_and_the_last_iteration_with_tensors_are_kept_and_no_more_than_a_few(tmp_path, iteration):
    calls = [([], [image() for _ in range(14)])]
    made = [iteration(calls, calls, number) for number in range(3)]
    unrecorded = CallTable(3, ())
    found, notes = kept(tmp_path, *made, Iteration(unrecorded, unrecorded, made[0].aligned))
    assert {each.iteration for each in found} == {0, 2}
    assert len(found) == 24
    assert notes == [f"12 pictures of iteration {number} are kept; there are 14" for number in (0, 2)]
    files = [path for each in found for path in (each.reference, each.port, each.difference)]
    assert sorted(files) == sorted(
        str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*.png")
    )
    assert len(set(files)) == 72


def test_without_pillow_there_is_a_note(tmp_path, iteration, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found, notes = kept(tmp_path, iteration([([], [image()])], [([], [image()])]))
    assert (found, notes) == ([], ["no pictures: Pillow is not installed (it comes with dgtool[report])"])
    assert kept(tmp_path, iteration([([], [])], [([], [])])) == ([], [])
