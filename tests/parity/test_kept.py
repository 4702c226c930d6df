"""What a check keeps of a port with a mistake: tensors, the layer sequence, and pictures."""

import numpy as np
import pytest
from PIL import Image

from parity import Run, check
from tests.planted import SLOPE


@pytest.fixture(scope="module")
def slope(tmp_path_factory):
    """DiscoGAN whose LeakyReLU has slope 0.01 in the port."""
    folder = tmp_path_factory.mktemp("slope") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("parity.session._KEPT_BYTES", 100_000)
        runs = (Run("float32", 3), Run("float64", 3))
        return check(SLOPE, SLOPE.options({"width": 4}), runs, folder), folder


def test_what_differs_is_kept_within_bounds(slope):
    result, folder = slope
    size = sum(path.stat().st_size for path in folder.glob("float*/*/*.safetensors"))
    assert len(result.mismatches) > 100
    assert 100_000 < size < 400_000


def test_culprits_are_the_layers_with_the_mistake(slope):
    result, _ = slope
    culprits = [each for each in result.layers if each.culprit]
    assert {each.operation for each in culprits} == {"leakyrelu"}
    assert len(culprits) == sum(each.operation == "leakyrelu" for each in result.layers) == 32
    assert not any(each.alone.agrees or each.outputs.agrees for each in culprits)
    others = [each for each in result.layers if not each.culprit and each.alone]
    assert all(each.alone.agrees for each in others)
    assert not all(each.outputs.agrees for each in others)  # what follows from the mistake
    first, *_ = culprits
    assert (first.where, first.inputs.agrees) == ("generator_B.main.1", True)
    assert result.findings[0].line.endswith(first.line)


TRANSLATE = """
import sys
import numpy as np
import torch
from DG_pair import DISCOGAN
from DG_torch.model import Generator

options = DISCOGAN.options({"width": 4})
images = {name: torch.from_numpy(array).double() for name, array in DISCOGAN.batch(options, 0).items()}
made = {}
for slope in (0.2, 0.01):
    generators = []
    for name in ("generator_A", "generator_B"):
        generator = Generator(4, False).double().eval()
        generator.load_state_dict({k: torch.from_numpy(v) for k, v in DISCOGAN.weights(options)[name].items()})
        for layer in generator.modules():
            if isinstance(layer, torch.nn.LeakyReLU):
                layer.negative_slope = slope
        generators.append(generator)
    G_A, G_B = generators
    A, B = images["A"], images["B"]
    AB, BA = G_B(B), G_A(A)
    found = {"A": A, "AB": AB, "ABA": G_A(AB), "B": B, "BA": BA, "BAB": G_B(BA)}
    made |= {f"{name} {slope}": image[0].detach().numpy() for name, image in found.items()}
np.savez(sys.argv[1], **made)
"""


def test_pictures_show_what_the_generators_make(slope, run_python, tmp_path):
    """Made again in Torch alone, with the right slope and with the wrong one."""
    result, folder = slope
    run_python(TRANSLATE, tmp_path / "images.npz")
    images = np.load(tmp_path / "images.npz")
    names = ["A", "AB", "ABA", "B", "BA", "BAB"]
    assert [(each.iteration, each.name) for each in result.pictures] == [
        (iteration, name) for iteration in (0, 1) for name in names
    ]
    for each in result.pictures[:6]:
        sides = {"reference": images[f"{each.name} 0.2"], "port": images[f"{each.name} 0.01"]}
        difference = sides["port"] - sides["reference"]
        expected = (sides["reference"].min(), sides["reference"].max(), np.abs(difference).max())
        assert (each.low, each.high, each.max_abs) == pytest.approx(expected, rel=1e-6)
        levels = {side: (image - each.low) / (each.high - each.low) * 255 for side, image in sides.items()}
        levels["difference"] = 127.5 + 127.5 * difference / (each.max_abs or 1.0)
        for side, level in levels.items():
            drawn = np.moveaxis(np.asarray(Image.open(folder / getattr(each, side)), float), -1, 0)
            assert np.abs(drawn - level.clip(0, 255)).max() < 0.51, (each.name, side)
