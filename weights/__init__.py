"""The matched initial weights of the DiscoGAN pair: architecture, recipe and checksums."""

from weights.architecture import NETWORKS, Layer, discogan_layers
from weights.recipe import Init, initial_weights

__all__ = ["NETWORKS", "Init", "Layer", "discogan_layers", "initial_weights"]
