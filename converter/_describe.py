"""Describe a live model as JSON: run as a script, in an environment that has the model's framework.

    python _describe.py module:callable result.json

Needs nothing but the standard library and the model's own framework, which it never names in an
import: whichever framework the model's objects come from is loaded already.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # a script's own folder comes first on the path, and nothing here is meant
    sys.path.pop(0)

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

__all__ = ["describe_model"]


def load(target: str) -> Any:
    """Import ``module:attribute`` or ``file.py:attribute`` and call it, unless it is a model already."""
    module_name, colon, attribute = target.rpartition(":")
    if not (module_name and colon and attribute):
        raise SystemExit(f"'{target}' is not of the form module:callable or file.py:callable")
    sys.path.insert(0, str(Path.cwd()))
    if module_name.endswith(".py"):
        sys.path.insert(0, str(Path(module_name).resolve().parent))
        spec = importlib.util.spec_from_file_location(Path(module_name).stem, module_name)
        if spec is None or spec.loader is None or not Path(module_name).is_file():
            raise SystemExit(f"{module_name}: no such Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(module_name)
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part)
    return found if isinstance(found, dict) or _framework(found) else found()


def _framework(model: Any) -> str:
    """Return "torch" or "paddle" for an instance of either's module class, else nothing."""
    bases = {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(model).__mro__}
    return "torch" if "torch.Module" in bases else "paddle" if "paddle.Layer" in bases else ""


def describe_model(model: Any) -> dict[str, Any]:
    """Describe a Torch module, a Paddle layer, or a dict of them.

    Raises TypeError for anything else.
    """
    networks = model if isinstance(model, dict) else {"": model}
    frameworks = {_framework(network) for network in networks.values()}
    if len(frameworks) != 1 or "" in frameworks:
        raise TypeError(f"a {type(model).__name__} is neither a Torch module nor a Paddle layer")
    (framework,) = frameworks
    described: dict[str, Any] = {
        "framework": framework,
        "modules": {},
        "tensors": {},
        "ties": [],
        "parameters": [],
        "parameter_names": {},
        "torch_shapes": {},
    }
    for name, network in networks.items():
        _describe_network(network, framework, f"{name}." if name else "", described)
    return described


def _describe_network(network: Any, framework: str, prefix: str, described: dict[str, Any]) -> None:
    # A layer under two names has its tensors under both.
    if framework == "torch":
        named = network.named_modules(remove_duplicate=False)
    else:
        named = network.named_sublayers(include_self=True, remove_duplicate=False)
    for path, module in named:
        full = (prefix + path).rstrip(".")
        described["modules"][full] = [f"{b.__module__}.{b.__name__}" for b in type(module).__mro__[:-1]]
        if framework == "paddle":
            described["torch_shapes"] |= {
                f"{full}.{name}".lstrip("."): shape for name, shape in _torch_shapes(module).items()
            }
    # Paddle counts the running statistics of its BatchNorm as parameters that need no gradient.
    parameters = dict(network.named_parameters())
    same: dict[int, list[str]] = {}
    state = network.state_dict(**({"keep_vars": True} if framework == "torch" else {}))
    # Buffers that are not saved now may have been, by an older version of the model.
    unsaved = {name: tensor for name, tensor in network.named_buffers() if name not in state}
    for name, tensor in {**state, **unsaved}.items():
        if not hasattr(tensor, "shape"):
            continue  # what a module's get_extra_state() returns
        described["tensors"][prefix + name] = {
            "shape": [int(size) for size in tensor.shape],
            "dtype": str(tensor.dtype).rpartition(".")[2],
            "buffer": name not in parameters and not _is_parameter(tensor),
            "optional": name not in state,
        }
        same.setdefault(id(tensor), []).append(prefix + name)
        if framework == "paddle" and getattr(tensor, "name", None):
            described["parameter_names"][prefix + name] = tensor.name
    described["ties"] += [names for names in same.values() if len(names) > 1]
    described["parameters"] += [
        prefix + name
        for name, tensor in parameters.items()
        if framework == "torch" or not tensor.stop_gradient
    ]


def _torch_shapes(layer: Any) -> dict[str, list[int]]:
    """Return the shapes in Torch of a Paddle layer's tensors, where Paddle's own do not tell them."""
    shape = getattr(layer, "_normalized_shape", None)
    if isinstance(shape, (list, tuple)):
        return {"weight": list(shape), "bias": list(shape)}
    shapes = {}
    for hook in getattr(layer, "_forward_pre_hooks", {}).values():
        # paddle/nn/utils/weight_norm_hook.py: one norm for every index of this axis; -1 for one in all.
        if type(hook).__name__ == "WeightNorm" and hook.dim not in (None, -1):
            sizes = [int(size) for size in getattr(layer, f"{hook.name}_v").shape]
            norms = [size if axis == hook.dim else 1 for axis, size in enumerate(sizes)]
            shapes[f"{hook.name}_g"] = norms[::-1] if type(layer).__name__ == "Linear" else norms
    return shapes


def _is_parameter(tensor: Any) -> bool:
    return type(tensor).__name__ in ("Parameter", "EagerParamBase")


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(describe_model(load(sys.argv[1]))))
