"""From evidence to findings: what is wrong with a port, where, and why."""

from parity.diagnosis.assemble import consequences, diagnose, hidden, verdict_of

__all__ = ["consequences", "diagnose", "hidden", "verdict_of"]
