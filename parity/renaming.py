"""A port with names of its own: which of its layers is which of the reference's.

Tensors are matched by the rules of a rules file (`converter.rule_file`). Its ``[modules]``, which
`dgtool align` writes, say what the layers are called, so that calls and settings are compared layer by
layer: the port's messages are read under the reference's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converter import RuleFile
from converter.rule_file import NO_RULES
from parity.pair import Framework, Pair

__all__ = ["ANY", "Renaming", "Rules", "rules_for", "rules_of"]

Rules = Mapping[str, RuleFile]
"""Rules by network, or under `ANY` those of every network."""
ANY = "*"


def rules_of(pair: Pair) -> Rules:
    """Return a pair's rules: most pairs need none."""
    found: Rules = getattr(pair, "rules", {})
    return found


def rules_for(rules: Rules, network: str) -> RuleFile:
    """Return a network's rules."""
    return rules.get(network, rules.get(ANY, NO_RULES))


class Renaming:
    """Reads what a port says of its layers and calls under the reference's names."""

    def __init__(self, rules: Rules, reference: Framework) -> None:
        self._rules = rules
        self._reference = reference
        self._known: dict[str, dict[str, str]] = {}

    def ready(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Rename the layers whose settings a port tells before the loop."""
        networks = {
            name: {
                **described,
                "settings": {
                    self._path(name, path): settings for path, settings in described["settings"].items()
                },
            }
            for name, described in message["networks"].items()
        }
        return {**message, "networks": networks}

    def calls(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Rename the layers whose calls a message lists."""
        if not self._rules:
            return message
        return {
            **message,
            "calls": [
                {**call, "path": self._renamed(call["path"])} if "path" in call else call
                for call in message["calls"]
            ],
        }

    def own_path(self, where: str) -> str:
        """Return what the port calls the layer that the reference calls ``where``, network included."""
        network, _, path = where.partition(".")
        for theirs, ours in self._paths(network).items():
            if ours == path:
                return f"{network}.{theirs}"
        return where

    def _renamed(self, path: str) -> str:
        network, dot, rest = path.partition(".")
        return f"{network}{dot}{self._path(network, rest)}" if dot else path

    def _path(self, network: str, path: str) -> str:
        return self._paths(network).get(path, path)

    def _paths(self, network: str) -> dict[str, str]:
        """Return the reference's paths by the port's: of layers, and of what holds them."""
        if network not in self._known:
            modules = rules_for(self._rules, network).modules
            leaves = {
                (port if self._reference == "torch" else torch): (
                    torch if self._reference == "torch" else port
                )
                for torch, port in modules.items()
            }
            within: dict[str, list[list[str]]] = {}
            for theirs, ours in leaves.items():
                parts = theirs.split(".")
                for cut in range(1, len(parts)):
                    within.setdefault(".".join(parts[:cut]), []).append(ours.split(".")[:-1])
            # A container is the one that holds the counterparts of all that it holds.
            containers = {path: _common(found) for path, found in within.items()}
            self._known[network] = {path: ours for path, ours in containers.items() if ours} | leaves
        return self._known[network]


def _common(paths: list[list[str]]) -> str:
    """Return the longest path that all of them begin with."""
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)
