"""Writing the skeleton of a pair: a folder that runs as it is, and that its owner fills in."""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template

from converter.messages import say
from parity.errors import UsageError
from parity.pair import Framework
from parity.pair_file import FILE

__all__ = ["write_skeleton"]

_BASES: dict[Framework, str] = {"torch": "nn.Module", "paddle": "nn.Layer"}
_EXAMPLE = '''
class Net($base):
    """An example; put your model here, or import it."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 16)
        self.out = nn.Linear(16, 4)

    def forward(self, x):
        return self.out(nn.functional.relu(self.hidden(x)))
'''


def write_skeleton(folder: Path, models: dict[Framework, str | None]) -> list[Path]:
    """Write ``pair.toml`` and a file for each side, and return them.

    ``models`` are ``module:Class`` by framework; None for a small example. Raises `UsageError` for a folder
    that exists or a model of another form.
    """
    if folder.exists():
        raise UsageError(say("{folder} exists already; give another name", folder=folder))
    texts = {FILE: _fill(f"{FILE}.in", name=folder.name, folder=str(folder))}
    for framework, target in models.items():
        definition, call = _model(framework, target)
        name = f"{framework}_side.py"
        texts[name] = _fill(f"{name}.in", definition=definition, call=call)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.partial.", dir=folder.parent) as partial:
        fresh = Path(partial) / "pair"
        fresh.mkdir()
        for name, text in texts.items():
            (fresh / name).write_text(text, encoding="utf-8")
        fresh.rename(folder)
    return [folder / name for name in texts]


def _fill(template: str, **values: str) -> str:
    text = (files("parity") / "skeleton" / template).read_text(encoding="utf-8")
    return Template(text).substitute(values)


def _model(framework: Framework, target: str | None) -> tuple[str, str]:
    """Return the lines that bring a model's class in, and the expression that makes one."""
    if target is None:
        return Template(f"\n{_EXAMPLE}").substitute(base=_BASES[framework]), "Net()"
    module, _, name = target.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise UsageError(
            say("'{target}' is not of the form module:Class, which an import needs", target=target)
        )
    return f"from {module} import {name}\n", f"{name}()"
