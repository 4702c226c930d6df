"""Training that begins in Torch and goes on in Paddle, from one checkpoint."""
