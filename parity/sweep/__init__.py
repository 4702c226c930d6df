"""Sweeps: a matrix of checks, each a process of its own, kept by what it was made of.

matrix    what a ``sweep.toml`` says: axes, and the cells that they span
cell      running one cell, with limits on its time and memory, and what it came to
kept      results on the disk, and whether they still hold
schedule  giving cells to an engine, all of them or as few as a bisection needs
summary   counts, and the first cell that turned bad along an ordered axis
"""
