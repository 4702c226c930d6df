"""The Paddle sides of the catalogue's pairs, with the mistakes that their options ask for.

Imported by Paddle's worker only. A mistake changes the port's classes and tables once in a process: a
worker runs one case.
"""

import importlib

_planted = set()


def _plant(net, options):
    """Apply the patches of the option ``defect`` and return the other options."""
    modules = [importlib.import_module(f"tests.defects.{name}") for name in PATCHES[net]]
    for defect in options["defect"]:
        if defect not in _planted:
            _planted.add(defect)
            name = defect.partition("-")[2].replace("-", "_")
            next(getattr(module, name) for module in modules if hasattr(module, name))()
    return {name: value for name, value in options.items() if name != "defect"}


PATCHES = {
    "discogan": ("patches_discogan", "patches_discogan_loop", "rewrites_discogan"),
    "mixed": ("patches_mixed", "patches_mixed_loop", "rewrites_mixed"),
}
"""By net: the modules in which ``dg-bn-epsilon`` is a function ``bn_epsilon``, and so on."""


def discogan(options):
    """Build DiscoGAN, wrong."""
    bp = importlib.import_module("DG_paddle.bp_DG")
    given = _plant("discogan", options)
    return bp.DiscoGAN(given)


def mixed(options):
    """Build the second net, wrong."""
    module = importlib.import_module("tests.defects.mixed_paddle")
    given = _plant("mixed", options)
    return module.MixedSide(given)
