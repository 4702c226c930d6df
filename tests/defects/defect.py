"""What a planted mistake is, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = ("converter", "model", "loss", "optimizer", "loop", "data", "schedule", "framework")


@dataclass(frozen=True)
class Defect:
    """A mistake in the port, and what must be said of it."""

    id: str
    """The net's letters and the name of the patch: ``dg-bn-epsilon``."""
    net: str
    """A name in `tests.defects.pairs.PAIRS`."""
    kind: str
    """One of `KINDS`; a ``framework`` case is a right port, whose right verdict is ``framework``."""
    says: str
    """What was done, in a sentence."""
    where: tuple[str, ...]
    """Patterns (of `fnmatch`) for the place that may be named first."""
    causes: tuple[str, ...]
    """The causes, of `parity.causes`, that are right."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The pair's, beside ``defect``."""
    iters: int = 5
    acts: bool = True
    """False: it changes no number within these iterations, and shows in the configuration only."""

    @property
    def patch(self) -> str:
        """The name of the function that plants it."""
        return self.id.partition("-")[2].replace("-", "_")

    @property
    def given(self) -> dict[str, Any]:
        """All options to give to the pair."""
        planted = [] if self.kind == "framework" else [self.id]
        return {**self.options, "defect": planted}


@dataclass(frozen=True)
class Several:
    """Independent mistakes in one port, all of which must be named."""

    id: str
    net: str
    defects: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    iters: int = 5

    @property
    def given(self) -> dict[str, Any]:
        """All options to give to the pair."""
        return {**self.options, "defect": list(self.defects)}
