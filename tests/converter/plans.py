"""Sources with a bit of everything and plans for them, for the tests of execution and verification."""

import numpy as np

from converter import Plan, Step, TensorInfo, open_checkpoint
from converter.checkpoint import BFLOAT16
from converter.formats import format_of
from converter.operations import Cast, Concatenate, Permute, Repeated, Reshape, Same, Split, apply

FLOAT32 = np.dtype(np.float32)
TRANSPOSE = Permute((1, 0))


def write_source(path, arrays, scalars=None):
    """Write arrays by name (dotted, flat) and open the file."""
    with path.open("wb") as file:
        format_of(path).write(file, "torch", [((name,), array) for name, array in arrays.items()], scalars)
    return open_checkpoint(path)


def step(source, names, operations, *targets):
    """Plan a step; shapes and dtypes of the targets are found by carrying it out on zeros."""
    sources = tuple(source.tensors[name] for name in names)
    results = apply(operations, [np.zeros(info.shape, info.dtype) for info in sources])
    infos = [TensorInfo((name,), a.dtype, a.shape) for name, a in zip(targets, results, strict=True)]
    return Step(sources, tuple(infos), tuple(operations), "Layer")


def everything(source):
    """Plan every kind of step for `arrays`."""
    steps = (
        step(source, ["linear"], [TRANSPOSE], "linear"),
        step(source, ["kept"], [], "kept"),
        step(source, ["packed"], [Split(0, (4, 8)), TRANSPOSE], "q", "k"),
        step(source, ["rows"], [Split(0, (4, 8))], "top", "bottom"),
        step(source, ["first", "second"], [TRANSPOSE, Concatenate(0, (6, 6))], "joined"),
        step(source, ["left", "right"], [Concatenate(1, (5, 5))], "side by side"),
        step(source, ["norm"], [Reshape((4, 6), (24,))], "norm"),
        step(source, ["conv"], [Permute((2, 0, 1))], "conv"),
        step(source, ["cell"], [TRANSPOSE, Repeated(2)], "cell", "alias"),
        step(source, ["tied", "tied too"], [Same(2)], "tied"),
        step(source, ["wide"], [TRANSPOSE, Cast(FLOAT32, np.dtype(np.float64))], "wide"),
        step(source, ["narrow"], [Cast(FLOAT32, BFLOAT16)], "narrow"),
        step(source, ["empty"], [], "empty"),
        step(source, ["scalar"], [], "scalar"),
        Step((source.tensors["dropped"],), (), (), "Layer", "no"),
    )
    return Plan("torch", "paddle", steps, source.scalars)


def arrays():
    random = np.random.default_rng(7)

    def floats(*shape):
        return random.standard_normal(shape, np.float32)

    shapes = {
        "linear": (40, 30),
        "kept": (8, 3, 2, 2),
        "packed": (12, 5),
        "rows": (12, 4),
        "first": (7, 6),
        "second": (7, 6),
        "left": (3, 5),
        "right": (3, 5),
        "norm": (4, 6),
        "conv": (3, 4, 5),
        "cell": (6, 4),
        "tied": (5, 5),
        "wide": (3, 7),
        "narrow": (9, 2),
        "empty": (0, 3),
        "scalar": (),
        "dropped": (2,),
    }
    made = {name: floats(*shape) for name, shape in shapes.items()}
    return {**made, "tied too": made["tied"].copy()}


def expected(plan, given):
    """Return what numpy alone makes of a plan, by target name."""
    results = {}
    for one in plan.steps:
        if one.targets:
            made = apply(one.operations, [given[info.name] for info in one.sources])
            results.update(
                {
                    t.name: np.ascontiguousarray(a).reshape(t.shape)
                    for t, a in zip(one.targets, made, strict=True)
                }
            )
    return results
