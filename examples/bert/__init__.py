"""BERT in Paddle, and MiniLM's sentence embeddings with it."""
