"""Ports of real models, for whoever wants to see a whole conversion."""
