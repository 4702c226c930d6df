"""Finding pairs, and the direction of imports."""

import ast
from pathlib import Path

import pytest

import converter
import parity
from DG_pair import DISCOGAN
from parity import UsageError, load_pair
from parity.pair import resolve

ROOT = Path(parity.__file__).parent.parent
# What each package may import of the others and of the frameworks.
MAY_IMPORT = {
    "converter": set(),
    "parity": {"converter"},
    "weights": {"converter"},
    "DG_pair": {"converter", "parity", "weights"},
    "DG_torch": {"DG_pair", "parity", "torch"},
    "DG_paddle": {"DG_pair", "parity", "paddle"},
    "dgtool": {"converter", "parity", "weights"},
}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package):
    watched = {*MAY_IMPORT, "torch", "paddle"} - {package}
    for path in (ROOT / package).rglob("*.py"):
        allowed = set(MAY_IMPORT[package])
        if (
            path.parent.name == "frameworks"
        ):  # torch.py, torch_hooks.py: what a worker of that framework loads
            allowed.add(path.stem.partition("_")[0])
        assert imports_of(path) & watched <= allowed, path


@pytest.mark.parametrize("package", ["converter", "parity"])
def test_the_toolkit_does_not_know_discogan(package):
    for path in (ROOT / package).rglob("*.py"):
        assert "discogan" not in path.read_text().lower().replace("(discogan in train mode: ", ""), path


@pytest.mark.parametrize("module", [converter, parity])
def test_everything_public_is_there(module):
    assert module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_pairs_are_found_by_name_and_by_target():
    assert load_pair("discogan") is DISCOGAN
    assert load_pair("DG_pair:DISCOGAN") is DISCOGAN


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("disco", "no pair named 'disco' (registered: discogan)"),
        ("absent.module:PAIR", "cannot load 'absent.module:PAIR'"),
        ("DG_pair:ABSENT", "cannot load 'DG_pair:ABSENT'"),
        ("DG_pair:DiscoGANPair", "is no pair: it is a class; name an instance of it"),
        ("json:dumps", "'json:dumps' is no pair: it lacks name, reference, port"),
        ("broken:PAIR", "cannot load 'broken:PAIR': SyntaxError"),
        (":x", "not of the form module:attribute"),
    ],
)
def test_an_unknown_pair_is_a_usage_error(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("PAIR =")
    with pytest.raises(UsageError) as caught:
        load_pair(name)
    assert message in str(caught.value)


def test_resolve_needs_a_colon():
    with pytest.raises(UsageError, match="not of the form"):
        resolve("DG_pair")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depth": 3}, "DiscoGAN has no option depth"),
        ({"mode": "test"}, "mode must be one of eval, train, not 'test'"),
        ({"seed_a": 1 << 32}, "seed_a must be at most 4294967295"),
        ({"width": 0}, "width must be at least 1"),
        ({"update_interval": 0}, "update_interval must be at least 1"),
        ({"rate": 1.5}, "rate must lie between 0 and 1"),
    ],
)
def test_impossible_options_are_usage_errors(given, message):
    with pytest.raises(UsageError) as caught:
        DISCOGAN.options(given)
    assert message in str(caught.value)


def test_fake_images_are_the_reference_pipelines():
    import numpy as np

    batch = DISCOGAN.batch(DISCOGAN.options({"batch": 2}), 3)
    np.random.seed(42)
    expected = np.random.randn(2, 3, 64, 64).astype(np.float32)
    assert np.array_equal(batch["A"], expected)


def test_the_worker_needs_numpy_and_its_framework_only(run_python):
    program = """
import sys, parity.worker
print(sorted({"torch", "paddle", "safetensors", "typer", "rich"} & set(sys.modules)))
"""
    assert run_python(program).strip() == "[]"
