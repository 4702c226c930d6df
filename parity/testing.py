"""Parity as an assertion, for a port's own tests."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.finding import Finding
from parity.pair import Pair, load_pair
from parity.process import Run
from parity.result import Result
from parity.session import check

__all__ = ["assert_parity", "checked", "explained"]

_SHOWN = 5


def assert_parity(
    pair: Pair | str | Path,
    *,
    iters: int = 3,
    options: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    reference: str | Path | None = None,
    oracle: bool = True,
    threads: int = 1,
) -> Result:
    """Run both sides of a pair and raise AssertionError unless the port is right.

    ``pair`` is what ``--pair`` takes, or a pair; ``options`` its own options; ``weights`` a checkpoint,
    ``reference`` a recording (``dgtool record``) that takes the place of running the reference. Without
    ``oracle`` there is no float64 run, and differences that rounding may explain are inconclusive, which
    fails. The error's text names the layer, the cause and the change to make. Returns the result. Raises
    `parity.ParityError` where the check cannot be run.
    """
    __tracebackhide__ = True  # pytest: the text says it all
    result = checked(
        pair,
        iters=iters,
        options=options,
        weights=weights,
        reference=reference,
        oracle=oracle,
        threads=threads,
    )
    if not result.passed:
        raise AssertionError(explained(result))
    return result


def checked(
    pair: Pair | str | Path,
    *,
    iters: int = 3,
    options: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    reference: str | Path | None = None,
    oracle: bool = True,
    threads: int = 1,
) -> Result:
    """Run both sides of a pair and return the result, whatever it is (see `assert_parity`)."""
    found = load_pair(str(pair)) if isinstance(pair, str | Path) else pair
    runs = [Run("float32", iters), *([Run("float64", iters)] if oracle else [])]
    with tempfile.TemporaryDirectory(prefix="dgtool-") as folder:
        return check(
            found,
            found.options(options or {}),
            runs,
            Path(folder) / "run",
            weights=None if weights is None else Path(weights),
            threads=threads,
            reference=None if reference is None else Path(reference),
        )


def explained(result: Result) -> str:
    """Say what is wrong with a port, as text of a few lines."""
    lines = [f"the port '{result.pair}' is not shown to be right: {result.verdict}"]
    for found in result.findings[:_SHOWN]:
        lines += _said(found)
    if not result.findings:
        for row in result.mismatches[:_SHOWN]:
            lines.append(f"- {row.quantity} {row.label}, iteration {row.iteration}: {row.status} {row.note}")
    return "\n".join(lines)


def _said(found: Finding) -> list[str]:
    lines = [f"- {found.what} ({found.stage}{f', {found.cause}' if found.cause else ''})"]
    for name, value in (("at", found.line), ("because", found.evidence), ("change", found.change)):
        if value:
            lines.append(f"    {name}: {value}")
    return lines
