"""DiscoGAN in Paddle: the port side of the built-in pair."""
