"""CREPE, a pitch tracker, in Paddle."""
