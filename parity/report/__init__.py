"""Renderings of a result: for the terminal here, for machines by `parity.Result.to_json`."""

from parity.report.changes import print_changes
from parity.report.findings import print_findings, print_verdict
from parity.report.noise import print_floor, print_log_judgement
from parity.report.terminal import print_gradients, print_judgement, print_pairs, print_result

__all__ = [
    "print_changes",
    "print_findings",
    "print_floor",
    "print_gradients",
    "print_judgement",
    "print_log_judgement",
    "print_pairs",
    "print_result",
    "print_verdict",
]
