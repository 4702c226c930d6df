"""What the two DiscoGAN sides share: their options, their data and the pair itself."""

from DG_pair.options import Options
from DG_pair.pair import DISCOGAN, DiscoGANPair, fake_images

__all__ = ["DISCOGAN", "DiscoGANPair", "Options", "fake_images"]
