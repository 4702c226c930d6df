"""GPT-2 in Paddle."""
