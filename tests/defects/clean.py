"""Right ports, in many forms, none of which may be called a defect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Clean:
    """A right port, and how it is run."""

    id: str
    net: str
    """A name in `tests.defects.pairs.PAIRS`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    iters: int = 5
    threads: int = 1


def _case(net: str, iters: int = 5, threads: int = 1, **options: Any) -> Clean:
    """Name a case by what is not as usual in it."""
    parts = [net, *(f"{name}-{value}" for name, value in options.items())]
    parts += [f"iters-{iters}"] * (iters != 5) + [f"threads-{threads}"] * (threads != 1)
    return Clean("-".join(map(str, parts)).replace("_", "-"), net, options, iters, threads)


CLEAN = (
    _case("discogan"),
    _case("discogan", mode="train"),
    *(_case("discogan", mode="train", seed=seed) for seed in (1, 2, 3)),
    _case("discogan", seed=4, seed_a=1, seed_b=2),
    _case("discogan", mode="train", init="torch-default"),
    _case("discogan", init="torch-default", seed=5),
    _case("discogan", mode="train", batch=1),
    _case("discogan", mode="train", batch=5),
    _case("discogan", mode="train", width=3),
    _case("discogan", width=16),
    _case("discogan", mode="train", threads=2),
    _case("discogan", threads=2, seed=6),
    _case("discogan", extra_layers=True),
    _case("discogan", mode="train", extra_layers=True),
    _case("discogan", arch="recongan"),
    _case("discogan", mode="train", arch="recongan"),
    _case("discogan", mode="train", arch="gan"),
    _case("discogan", mode="train", update_interval=3),
    _case("discogan", clear_grad="all"),
    _case("discogan", mode="train", clear_grad="all", rate=0.5),
    _case("discogan", 30),
    _case("discogan", 30, mode="train"),
    _case("mixed"),
    _case("mixed", mode="eval"),
    *(_case("mixed", seed=seed) for seed in (1, 2)),
    _case("mixed", optimizer="adamw"),
    _case("mixed", optimizer="sgd"),
    _case("mixed", batch=1),
    _case("mixed", width=13, batch=3),
    _case("mixed", threads=2),
    _case("mixed", 30),
    _case("mixed", 30, optimizer="sgd", mode="eval"),
)

REWRITES = tuple(
    Clean(name, net, {"defect": [name]})
    for net, names in {
        "discogan": (
            "dg-bce-with-logits",
            "dg-functional-activations",
            "dg-squares",
            "dg-optimizers-cleared-by-hand",
        ),
        "mixed": (
            "mx-queries-scaled",
            "mx-mean-by-sum",
            "mx-softmax-layer",
            "mx-resize-layer",
            "mx-loss-layer",
            "mx-labels-as-column",
            "mx-outputs-swapped",
        ),
    }.items()
    for name in names
)
"""Ports that compute the same in another way. None of them is wrong, however different they look."""
