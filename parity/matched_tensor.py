"""The conversion plan of a check: which tensor of the port is which of the reference, and by which rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.matching import NetworkTensors, Parts

__all__ = ["MatchedTensor", "TensorRule", "layer_of", "matched_tensors"]


@dataclass(frozen=True)
class MatchedTensor:
    """A parameter or buffer on both sides."""

    network: str
    reference: str
    """The state-dict name; empty if the port alone has the tensor."""
    port: str
    """The state-dict name; empty if the port lacks the tensor."""
    kind: str
    """``parameter`` or ``buffer``."""
    layer: str
    """The reference's kind of layer: ``Linear``."""
    rule: str
    """What is done to the reference's tensor, as ``dgtool convert --dry-run`` says it: ``transpose``. Empty
    where no rule leads to the port's tensor."""
    reference_shape: tuple[int, ...]
    port_shape: tuple[int, ...]
    dtype: str

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> MatchedTensor:
        shapes = {name: tuple(content[name]) for name in ("reference_shape", "port_shape")}
        return cls(**{**content, **shapes})


@dataclass(frozen=True)
class TensorRule:
    """What makes of one tensor, or of a part of it, another one."""

    reference: str
    """Empty for what only the port has, by rule."""
    port: str
    """Empty for what only the reference has, by rule."""
    text: str
    layer: str


def matched_tensors(
    network: str,
    sides: tuple[NetworkTensors, NetworkTensors],
    found: Sequence[TensorRule],
    packed: tuple[Mapping[str, Parts], Mapping[str, Parts]],
    shapes: Mapping[str, tuple[int, ...]],
) -> Iterator[MatchedTensor]:
    """Yield every tensor of the reference, then what the port alone has.

    ``packed`` are both sides' tensors that are taken apart; ``shapes`` are the port's, those in parts.
    """
    reference, port = sides
    rules: dict[str, list[TensorRule]] = {}
    for rule in found:
        rules.setdefault(rule.reference, []).append(rule)
    listed = set()
    for owner, (dtype, whole) in reference.tensors.items():
        kind, layer = "buffer" if owner in reference.buffers else "parameter", layer_of(reference, owner)
        parts = packed[0].get(owner)
        own = dict(zip(parts.names, parts.shapes, strict=True)) if parts else {owner: whole}
        for name, shape in own.items():
            first, *others = rules.get(name, [TensorRule(name, "", "", layer)])
            # One tensor may have several names in the port; the others are optional.
            for rule in (first, *(each for each in others if each.port in shapes)):
                here = rule.port if rule.port in shapes else ""
                listed.add(here)
                named = rule.layer if reference.framework == "torch" else layer
                sizes = shape, shapes.get(here, ())
                yield MatchedTensor(network, name, here, kind, named, rule.text, *sizes, dtype)
    alone = {rule.port: rule.text for rule in rules.get("", ())}
    owners = {part: name for name, parts in packed[1].items() for part in parts.names}
    for name, shape in shapes.items():
        if name not in listed:
            owner = owners.get(name, name)
            kind = "buffer" if owner in port.buffers else "parameter"
            layer, dtype = layer_of(port, owner), port.tensors[owner][0]
            yield MatchedTensor(network, "", name, kind, layer, alone.get(name, ""), (), shape, dtype)


def layer_of(side: NetworkTensors, name: str) -> str:
    """Return the class of the innermost layer that holds a tensor; empty if the side tells of none."""
    path = name
    while path and path not in side.layers:
        path = path.rpartition(".")[0]
    return side.layers.get(path, "")
