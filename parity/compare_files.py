"""Comparing what was recorded elsewhere: two reprod_log files, or two traces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from converter.messages import joined, said, say
from parity import reprod
from parity.compare import Comparison
from parity.errors import ComparisonError, UsageError
from parity.judge import Row, Status
from parity.metrics import measure
from parity.pair import Array
from parity.rows import Rows
from parity.trace import Trace

__all__ = ["DEFAULT_TOLERANCES", "compare_files"]

DEFAULT_TOLERANCES: dict[str, tuple[float, float]] = {
    "float64": (1e-7, 1e-7),
    "float32": (1.3e-6, 1e-5),
    "float16": (1e-3, 1e-5),
}
"""Relative and absolute tolerance by dtype: those of ``torch.testing.assert_close``."""


def compare_files(
    reference: Path, port: Path, *, rtol: float | None = None, atol: float | None = None
) -> Rows:
    """Compare two traces (folders) or two reprod_log files, importing no framework.

    Logs are judged element by element, ``|port - reference| <= atol + rtol |reference|``, with the
    defaults of `DEFAULT_TOLERANCES`; traces as a check judges them. Raises `UsageError` for paths
    that do not go together and `TraceError` for files that are not what they should be.
    """
    for path in (reference, port):
        if not path.exists():
            raise UsageError(say("{path}: no such file or folder", path=path))
    if reference.is_dir() and port.is_dir():
        if rtol is not None or atol is not None:
            raise UsageError(
                say("traces are judged by their own limits; --rtol and --atol are for reprod_log files")
            )
        return Rows(_compare_traces(Trace.open(reference), Trace.open(port)))
    if reference.is_dir() or port.is_dir():
        raise UsageError(say("compare two traces (folders) or two reprod_log files, not one of each"))
    return Rows(_compare_logs(reprod.read(reference), reprod.read(port), rtol, atol))


def _compare_traces(reference: Trace, port: Trace) -> Iterator[Row]:
    if reference.dtype != port.dtype:
        raise ComparisonError(
            say(
                "the traces' dtypes differ: {reference} and {port}",
                reference=reference.dtype,
                port=port.dtype,
            )
        )
    if reference.networks.keys() != port.networks.keys():
        raise ComparisonError(
            say(
                "the traces' networks differ: {reference} and {port}",
                reference=", ".join(reference.networks),
                port=", ".join(port.networks),
            )
        )
    comparison = Comparison(reference.dtype, (reference.framework, port.framework))
    yield from comparison.ready(reference.networks, port.networks)
    losses = {entry["iteration"]: entry for entry in reference.losses}
    port_losses = {entry["iteration"]: entry for entry in port.losses}
    silent: dict[str, dict[str, float]] = {"values": {}, "batch_norm": {}}
    keys = list(dict.fromkeys([*reference.units, *port.units]))
    for iteration in sorted({-1, *losses, *port_losses, *(key[0] for key in keys)}):
        if iteration >= 0:
            sides = (losses.get(iteration, silent), port_losses.get(iteration, silent))
            yield from comparison.losses(iteration, *sides)
        for key in (key for key in keys if key[0] == iteration):
            if key not in reference.units or key not in port.units:
                raise ComparisonError(
                    say(
                        "only one trace has the {quantity} of {network} in iteration {iteration}",
                        quantity=key[1],
                        network=key[3],
                        iteration=iteration,
                    )
                )
            arrays = reference.arrays(key), port.arrays(key)
            yield from comparison.unit(reference.units[key], port.units[key], arrays)


def _compare_logs(
    reference: Mapping[str, Array], port: Mapping[str, Array], rtol: float | None, atol: float | None
) -> Iterator[Row]:
    for name in [*reference, *(extra for extra in port if extra not in reference)]:
        if name not in port:
            yield _unmatched(name, "missing", say("the port's log has no such entry"))
        elif name not in reference:
            yield _unmatched(name, "unexpected", say("only the port's log has it"))
        else:
            yield _compare_entry(name, reference[name], port[name], rtol, atol)


def _unmatched(name: str, status: Status, note: str) -> Row:
    return Row("", 0, "loss", "", name, status, math.nan, math.nan, note)


def _compare_entry(name: str, expected: Array, actual: Array, rtol: float | None, atol: float | None) -> Row:
    note = ""
    if {expected.shape, actual.shape} == {(), (1,)}:
        # Paddle before 2.5 gave losses the shape (1,); the value is the same, and the case is named.
        note = say(
            "shapes {expected} and {actual} taken as one value",
            expected=list(expected.shape),
            actual=list(actual.shape),
        )
        expected, actual = expected.reshape(()), actual.reshape(())
    dtype = min((expected.dtype, actual.dtype), key=lambda each: each.itemsize).name
    if expected.dtype != actual.dtype:
        note = joined(
            note, say("dtypes {expected} and {actual}", expected=expected.dtype, actual=actual.dtype)
        )
    defaults = DEFAULT_TOLERANCES.get(dtype, (0.0, 0.0))
    relative, absolute = (
        given if given is not None else default for given, default in zip((rtol, atol), defaults, strict=True)
    )
    try:
        metrics = measure(expected, actual)
    except ComparisonError as error:
        return _unmatched(name, "differs", said(error))
    if not metrics.finite:
        note = say(
            "{reference_nonfinite} NaN or Inf in the reference, {port_nonfinite} in the port",
            reference_nonfinite=metrics.reference_nonfinite,
            port_nonfinite=metrics.port_nonfinite,
        )
        return Row(dtype, 0, "loss", "", name, "differs", math.nan, absolute, note, metrics)
    # The element that exceeds its own allowance most decides, and its excess is what is reported.
    difference = abs(actual.astype(float) - expected.astype(float))
    excess = difference - relative * abs(expected.astype(float))
    needed = max(0.0, float(excess.max()))
    status: Status = "equal" if metrics.max_abs == 0.0 else "rounding" if needed <= absolute else "differs"
    if status == "differs":
        note = joined(note, say("--atol {needed:.3g} would have let it pass", needed=_rounded_up(needed)))
    return Row(dtype, 0, "loss", "", name, status, needed, absolute, note, metrics)


def _rounded_up(value: float) -> float:
    """Round a positive number up to three significant digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return math.ceil(value / unit) * unit
