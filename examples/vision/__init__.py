"""Torch twins of three networks that Paddle ships."""
