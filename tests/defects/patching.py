"""How a port's source is made wrong: constructors, loading, and methods of its classes."""

import functools
from types import SimpleNamespace

import numpy as np


def wrong_arguments(module, name, make):
    """Have a module's ``nn.NAME(...)`` construct what ``make(original class, *args, **kwargs)`` does."""
    namespace = dict(vars(module.nn))
    module.nn = SimpleNamespace(**{**namespace, name: functools.partial(make, namespace[name])})


def after(owner, method, change):
    """Have a method of a class followed by ``change(self)``."""
    original = getattr(owner, method)

    @functools.wraps(original)
    def run(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        change(self)
        return result

    setattr(owner, method, run)


def before(owner, method, change):
    """Have a method of a class preceded by ``change(self)``."""
    original = getattr(owner, method)

    @functools.wraps(original)
    def run(self, *args, **kwargs):
        change(self)
        return original(self, *args, **kwargs)

    setattr(owner, method, run)


def layer_at(network, path):
    """Return a layer by its path."""
    return functools.reduce(getattr, path.split("."), network)


def replace_layer(network, path, layer):
    """Put another layer in a layer's place."""
    parent, _, name = path.rpartition(".")
    layer.training = layer_at(network, path).training
    setattr(layer_at(network, parent) if parent else network, name, layer)


def loads(network, change):
    """Have one network load ``change(state dict)`` in the state dict's stead."""
    original = network.set_state_dict
    network.set_state_dict = lambda state: original(change(dict(state)))


def loads_each(network, wanted, change):
    """Have one network load ``change(array)`` for every name of which ``wanted(name)`` is true."""
    loads(network, lambda state: {k: change(v) if wanted(k) else v for k, v in state.items()})


def is_float(array):
    return array.dtype.kind == "f"


def rounded(array, dtype):
    """Round to a narrower type and back."""
    return array.astype(dtype).astype(array.dtype) if is_float(array) else array


def as_port(tensor, change):
    """Change a batch's tensor as a data pipeline would: before it is one."""
    import paddle

    return paddle.to_tensor(np.ascontiguousarray(change(tensor.numpy())))
