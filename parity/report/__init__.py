"""Renderings of a result: for the terminal here, for machines by `parity.Result.to_json`."""

from parity.report.terminal import print_gradients, print_pairs, print_result

__all__ = ["print_gradients", "print_pairs", "print_result"]
