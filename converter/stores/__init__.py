"""Files in object stores, by fsspec: their addresses, what is asked of the stores, and what is fetched.

A `Url` stands where a `pathlib.Path` may: in a checkpoint, an extent and a shard. Its file can be opened for
reading, a few blocks at a time; whoever works on a shard fetches the ranges that it is made from into files
of its own (`converter.stores.staging`).
"""
