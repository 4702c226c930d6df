"""DiscoGAN ports with one mistake each, as pairs: ``--pair tests.planted:SLOPE``."""

from dataclasses import replace

from DG_pair import DISCOGAN, DiscoGANPair
from parity import Implementation


def _with_port(side: str) -> DiscoGANPair:
    return replace(DISCOGAN, port=Implementation("paddle", f"tests.planted.sides:{side}"))


SLOPE = _with_port("Slope")
NO_DECAY = _with_port("NoDecay")
EPSILON = _with_port("Epsilon")
CLEARED = _with_port("Cleared")
LOST_STATISTICS = _with_port("LostStatistics")
MOMENTUM = _with_port("Momentum")
MOVED_VARIANCE = _with_port("MovedVariance")
NAN = _with_port("NaN")
EXTRA_LAYER = _with_port("ExtraLayer")
UNREPORTED_GRADIENTS = _with_port("UnreportedGradients")
OTHER_LOSS_NAME = _with_port("OtherLossName")
RAISES = _with_port("Raises")
KILLED = _with_port("Killed")
EXITS = _with_port("Exits")
