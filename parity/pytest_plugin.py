"""A pytest plugin: ``pytest --dg-pair DIR`` tests a port, one item for each stage of a training step.

A pair is run once, when its first item is; every item then tells what is wrong at its stage. Tests of your
own ask for the fixture ``dg_parity`` and call it with a pair: it is `parity.assert_parity`, with the command
line's settings as defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parity.result import Result

__all__ = ["PairCollector", "StageItem"]

_WRONG = ("defect", "inconclusive")
_STAGES = {
    "initial-values": ("load", "initial values", "inputs"),
    "losses": ("forward", "loss"),
    "gradients": ("backward", "gradients"),
    "step": ("step", "optimizer", "parameters", "schedule"),
    "buffers": ("buffers",),
    "evaluation": ("evaluation",),
    "configuration": ("configuration",),
    "verdict": (),
}
"""Items, in order, and the findings' stages that each answers for."""
_QUANTITIES = {
    "losses": ("loss",),
    "gradients": ("gradient",),
    "step": ("optimizer", "parameter"),
    "buffers": ("buffer",),
    "evaluation": ("evaluation",),
}
"""What the rows of an item are about; those before the first step are initial values."""


class NotShownError(Exception):
    """What an item raises; its text is the report."""


def pytest_addoption(parser: pytest.Parser) -> None:
    add = parser.getgroup("dgtool", "parity of a port with its original").addoption
    several: Any = {"action": "append", "default": []}
    add("--dg-pair", metavar="DIR", help="a pair to test; may be repeated", **several)
    add("--dg-set", metavar="NAME=VALUE", help="an option of the pairs; may be repeated", **several)
    add("--dg-iters", type=int, default=3, metavar="N", help="iterations (default 3)")
    add("--dg-reference", metavar="DIR", help="a recording of the reference (dgtool record)")


def _settings(config: pytest.Config) -> dict[str, Any]:
    from parity.options import read_settings

    return {
        "iters": config.getoption("--dg-iters"),
        "reference": config.getoption("--dg-reference"),
        "options": read_settings(config.getoption("--dg-set")),
    }


@pytest.fixture
def dg_parity(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return `parity.assert_parity`, with ``--dg-iters``, ``--dg-reference`` and ``--dg-set`` as defaults."""
    from parity.testing import assert_parity

    def call(pair: Any, **given: Any) -> Any:
        return assert_parity(pair, **{**_settings(request.config), **given})

    return call


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the items of every pair that the command line names."""
    for name in config.getoption("--dg-pair"):
        collector = PairCollector.from_parent(session, name=Path(name).name or name, nodeid=f"dg::{name}")
        collector.pair = name
        items.extend(collector.collect())


class PairCollector(pytest.Collector):
    """One pair, which is run when it is first asked for its result."""

    pair: str
    _result: Result | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """Return an item for each stage."""
        for stage in _STAGES:
            yield StageItem.from_parent(self, name=stage)

    def result(self) -> Result:
        """Run the pair once. Raises `parity.ParityError` where it cannot be run."""
        if self._result is None:
            from parity.testing import checked

            self._result = checked(self.pair, **_settings(self.config))
        return self._result


class StageItem(pytest.Item):
    """One stage of a training step."""

    parent: PairCollector

    def runtest(self) -> None:
        """Fail with what is wrong at this stage, and with what it follows from if that is elsewhere."""
        from parity.testing import explained

        result = self.parent.result()
        if self.name == "verdict":
            if not result.passed:
                raise NotShownError(explained(result))
            return
        wrong = [f for f in result.findings if f.stage in _STAGES[self.name] and f.verdict in _WRONG]
        initial = self.name == "initial-values"
        rows = [
            row
            for row in result.mismatches
            if (row.iteration < 0 if initial else row.quantity in _QUANTITIES.get(self.name, ()))
            and (initial or row.iteration >= 0)
        ]
        if wrong or (rows and not result.passed):
            first = rows[0] if rows else None
            count = f"{len(rows)} comparisons differ, the first being {first.label}\n" if first else ""
            raise NotShownError(count + explained(result))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show the report, or why the pair could not be run, without a traceback."""
        from parity.errors import ParityError

        if isinstance(excinfo.value, NotShownError | ParityError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Name the pair and the stage."""
        return Path(self.parent.pair), None, f"{self.parent.name}: {self.name}"
