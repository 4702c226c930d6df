"""Thin adapters to the frameworks: the same functions in each, used inside worker processes only."""
