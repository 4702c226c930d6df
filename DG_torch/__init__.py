"""DiscoGAN in Torch: the reference side of the built-in pair."""
