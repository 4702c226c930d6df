"""From evidence to findings: what is wrong with a port, where, and why."""

from parity.diagnosis.assemble import diagnose, verdict_of

__all__ = ["diagnose", "verdict_of"]
