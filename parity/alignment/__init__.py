"""Which layer is which, in two models that were written differently: describe -> propose -> prove -> write.

`parity.alignment.align.align` is the whole of it. Imports nothing, for workers, whose environment may
lack what the parent needs, load parts of this package.
"""
