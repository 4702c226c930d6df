"""Verification: planted mistakes are found and named, and what is right passes."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter import FormatError, Plan, Step, TensorInfo, VerifyError, open_checkpoint
from converter._copy import Difference, difference
from converter.checkpoint import BFLOAT16
from converter.execute import write
from converter.formats import format_of
from converter.operations import Cast, Repeated
from converter.verification import verify
from tests.converter import plans

F4, F8, F2 = map(np.dtype, ("f4", "f8", "f2"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return plans.write_source(tmp_path_factory.mktemp("source") / "source.pth", plans.arrays())


@pytest.fixture(scope="module")
def plan(source):
    return plans.everything(source)


@pytest.fixture
def right(plan):
    """What numpy makes of the plan, by target name."""
    return plans.expected(plan, plans.arrays())


def save(path, arrays, framework="paddle", scalars=None):
    """Write a target as somebody else's script would."""
    with path.open("wb") as file:
        format_of(path).write(file, framework, [((name,), array) for name, array in arrays.items()], scalars)
    return path


def problems(source, plan, file, **options):
    with pytest.raises(VerifyError) as caught:
        verify(source, plan, file, **options)
    first, *listed = str(caught.value).split("\n  - ")
    assert first == f"{file} does not hold what the plan makes of {source.file}:"
    return listed


@pytest.mark.parametrize("suffix", ["safetensors", "pdparams"])
@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_right_passes(source, plan, right, tmp_path, suffix, workers):
    verify(source, plan, save(tmp_path / f"t.{suffix}", right), workers=workers)
    verify(source, plan, open_checkpoint(tmp_path / f"t.{suffix}"))


def test_every_bit_counts(source, plan, right, tmp_path):
    names = [name for name, array in right.items() if array.size]

    @given(st.sampled_from(names), st.integers(0, 1 << 30), st.integers(0, 7))
    def flipped(name, byte, bit):
        array = right[name].copy()
        flat = np.atleast_1d(array).reshape(-1).view(np.uint8)
        flat[byte % flat.size] ^= 1 << bit
        array = flat.view(array.dtype).reshape(array.shape)
        found = problems(source, plan, save(tmp_path / "t.safetensors", {**right, name: array}))
        # The alias of one is not the same as it any more, the other is neither of its two sources.
        assert len(found) == (2 if name in ("cell", "tied") else 1)
        assert all(f"'{name}'" in problem and "1 of " in problem for problem in found)

    flipped()


def test_two_swapped_tensors(source, tmp_path):
    steps = tuple(plans.step(source, [name], [plans.TRANSPOSE], name) for name in ("first", "second"))
    arrays = plans.arrays()
    swapped = {"first": arrays["second"].T, "second": arrays["first"].T}
    found = problems(source, Plan("torch", "paddle", steps), save(tmp_path / "t.pdparams", swapped))
    assert [problem.partition(":")[0] for problem in found] == [
        "'first' does not hold 'first' (transpose)",
        "'second' does not hold 'second' (transpose)",
    ]


def test_lost_and_extra_tensors(source, plan, right, tmp_path):
    changed = {name: array for name, array in right.items() if name not in ("kept", "k")}
    found = problems(source, plan, save(tmp_path / "t.safetensors", {**changed, "more": np.zeros(1, "f4")}))
    assert found == ["'kept' is not in the file", "'k' is not in the file", "'more' was not in the plan"]


def test_a_tensor_under_another_path(source, plan, right, tmp_path):
    with (tmp_path / "t.pdparams").open("wb") as file:
        tensors = [((name,) if name != "kept" else ("a", "kept"), array) for name, array in right.items()]
        format_of(tmp_path / "t.pdparams").write(file, "paddle", tensors, {})
    elsewhere = Step((source.tensors["kept"],), (TensorInfo(("a.kept",), F4, (8, 3, 2, 2)),), (), "Layer")
    steps = (*plan.steps, elsewhere)
    found = problems(source, Plan("torch", "paddle", steps), tmp_path / "t.pdparams")
    assert found == [
        "'kept' is not in the file",
        "'a.kept' is not in the file under a.kept, but under a/kept",
    ]


def test_shapes_and_dtypes(source, plan, right, tmp_path):
    right["norm"], right["kept"] = right["norm"].reshape(4, 6), right["kept"].astype("f8")
    assert problems(source, plan, save(tmp_path / "t.safetensors", right)) == [
        "'kept' is float64, expected float32",
        "'norm' has the shape [4, 6], expected [24]; it holds 'norm' as it was (reshape 4x6 24 is missing)",
    ]


def test_a_forgotten_transposition(source, tmp_path):
    """Of a square weight, which the shape does not tell."""
    plan = Plan("torch", "paddle", (plans.step(source, ["tied"], [plans.TRANSPOSE], "w"),))
    array = plans.arrays()["tied"]
    (problem,) = problems(source, plan, save(tmp_path / "t.pdparams", {"w": array}))
    assert problem == (
        "'w' does not hold 'tied' (transpose): 20 of 25 elements differ, the first at [0, 1] of 'tied': "
        f"{array[1, 0]}, expected {array[0, 1]}; it holds 'tied' as it was (transpose is missing)"
    )


def test_the_place_of_the_first_difference_is_the_sources(source, plan, right, tmp_path):
    right["k"][2, 5] += 1
    (problem,) = problems(source, plan, save(tmp_path / "t.safetensors", right))
    was, now = plans.arrays()["packed"][4 + 5, 2], right["k"][2, 5]
    assert problem == (
        "'k' does not hold 'packed' (split 0 4 8, transpose): 1 of 40 elements differ, "
        f"the first at [9, 2] of 'packed': {now}, expected {was}"
    )


def test_aliases_that_differ(source, plan, right, tmp_path):
    right["alias"] = right["alias"].copy()
    right["alias"][1, 2] = 7
    (problem,) = problems(source, plan, save(tmp_path / "t.safetensors", right))
    assert problem == (
        "'alias' is not the same as 'cell' (transpose, repeat 2): 1 of 24 elements differ, the first at [1, 2]"
    )


def test_sources_of_one_tensor_that_differ(source, tmp_path):
    arrays = plans.arrays()
    changed = plans.write_source(tmp_path / "s.pth", {**arrays, "tied too": arrays["tied"] + 1})
    plan = Plan("torch", "paddle", (plans.step(source, ["tied", "tied too"], [plans.Same(2)], "t"),))
    other = Step(
        (plan.steps[0].sources[0], changed.tensors["tied too"]), plan.steps[0].targets, (plans.Same(2),), ""
    )
    file = save(tmp_path / "t.pdparams", {"t": arrays["tied"]})
    verify(source, plan, file)
    (problem,) = problems(source, Plan("torch", "paddle", (other,)), file)
    assert problem.startswith("'t' does not hold 'tied too' (same 2): 25 of 25 elements differ")


def test_scalars(source, tmp_path):
    step = plans.step(source, ["norm"], [], "w")
    given = {("a",): 1, ("b",): float("nan"), ("c",): True, ("d", "e"): "x"}
    plan = Plan("torch", "paddle", (step,), given)
    arrays = {"w": plans.arrays()["norm"]}
    verify(source, plan, save(tmp_path / "t.pdparams", arrays, scalars=given))
    other = {("a",): 1, ("b",): float("nan"), ("c",): 1, ("f",): 2}
    assert problems(source, plan, save(tmp_path / "t.pdparams", arrays, scalars=other)) == [
        "the value 'c' is 1, expected True",
        "the value 'd.e' is not in the file",
        "the value 'f' was not in the plan",
    ]


def test_the_framework(source, plan, right, tmp_path):
    found = problems(source, plan, save(tmp_path / "t.safetensors", right, framework="torch"))
    assert found == ["it is a torch checkpoint, expected paddle"]


# Casts --------------------------------------------------------------------------------------------

VALUES = np.float32([1.0000001, 0, -0.0, 1e30, -1e30, 1e-30, np.nan, np.inf, 3.1415927])


@pytest.fixture
def numbers(tmp_path):
    return plans.write_source(tmp_path / "numbers.pth", {"w": VALUES})


@pytest.mark.parametrize("dtype", [F2, BFLOAT16])
@pytest.mark.parametrize("suffix", ["safetensors", "pdparams"])
def test_casts_that_lose_are_done_again(numbers, tmp_path, dtype, suffix):
    cast = Cast(F4, dtype)
    plan = Plan("torch", "paddle", (plans.step(numbers, ["w"], [cast], "w"),))
    assert not plan.steps[0].exact
    (array,) = cast.apply([VALUES])
    verify(numbers, plan, save(tmp_path / f"t.{suffix}", {"w": array}))
    array.view(np.uint16)[-1] ^= 1
    (problem,) = problems(numbers, plan, save(tmp_path / f"t.{suffix}", {"w": array}))
    assert (
        f"'w' does not hold 'w' (cast float32 {dtype}): 1 of 9 elements differ, the first at [8]" in problem
    )


def test_casts_that_keep_all_are_undone(numbers, tmp_path):
    plan = Plan("torch", "paddle", (plans.step(numbers, ["w"], [Cast(F4, F8)], "w"),))
    array = VALUES.astype(F8)
    verify(numbers, plan, save(tmp_path / "t.pdparams", {"w": array}))
    array[0] = 1
    (problem,) = problems(numbers, plan, save(tmp_path / "t.pdparams", {"w": array}))
    assert "at [0] of 'w': 1.0, expected 1.0000001" in problem


def test_a_cast_before_other_operations(numbers, tmp_path):
    operations = [Cast(F4, F2), Repeated(2)]
    plan = Plan("torch", "paddle", (plans.step(numbers, ["w"], operations, "a", "b"),))
    write(numbers, plan, tmp_path / "t.pdparams")
    array = Cast(F4, F2).apply([VALUES])[0]
    array[3] = 0
    good = open_checkpoint(tmp_path / "t.pdparams").read("a")
    (problem,) = problems(numbers, plan, save(tmp_path / "other.pdparams", {"a": good, "b": array}))
    assert problem == "'b' is not what (cast float32 float16, repeat 2) makes of 'w'"


# The comparison itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4), (2000, 3000), (1, 7_000_000)])
def test_equal_arrays(shape):
    array = np.ones(shape, np.float32)
    assert difference(array, array.copy()) is None
    assert difference(array.T, array.T.copy()) is None


def test_differences_in_later_blocks_are_found_and_counted():
    array = np.zeros((3000, 2000), np.float32)
    other = np.zeros((2000, 3000), np.float32).T
    other[1500, 3], other[2999, 1999] = 2, 3
    assert difference(other, array) == Difference(2, (1500, 3), np.float32(2), np.float32(0))


def test_bits_are_compared_not_numbers():
    assert difference(np.float32([-0.0]), np.float32([0.0])) is not None
    nan = np.float32([np.nan])
    assert difference(nan, nan.copy()) is None
    assert difference(nan, np.uint32([0x7FC00001]).view(np.float32)) is not None
    assert difference(np.complex128([1 + 1j]), np.complex128([1 - 1j])) is not None
    assert difference(np.zeros(3, BFLOAT16), np.zeros(3, BFLOAT16)) is None


def test_an_error_of_a_worker_process_keeps_its_file_and_its_reason():
    error = pickle.loads(pickle.dumps(FormatError(Path("a.pth"), "is truncated")))
    assert (str(error), error.path) == ("a.pth: is truncated", Path("a.pth"))
