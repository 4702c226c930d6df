"""Rows in columns are the rows that were put in, and a file of them is theirs or refused."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from parity import Metrics, TraceError
from parity.judge import Row, bare_row, judge
from parity.rows import Rows
from parity.rows_file import load_rows, save_rows
from tests.synthetic_result import synthetic_result


def some_rows(count=7):
    """Rows of every kind: with metrics and without, of scalars and tensors, of figures that are not finite."""
    for number in range(count):
        if number % 3 == 2:
            yield bare_row(
                "float64", -1, "parameter", "net", f"lost.{number}", "missing", "the port has none"
            )
            continue
        index, ulps = ((), ()) if number % 2 else ((number, 2), (5, 0, 1))
        norm = math.nan if number == 4 else 1e-9 * number
        metrics = Metrics(
            6, 2.0, 2.0, norm, norm, 1e-10, 1.0, 0.5, index, 1.0, -1.0, 0, int(number == 4), ulps
        )
        yield judge("float64", number, "gradient", "net", f"w{number}", metrics, 2.0, terms=9, floor=1e-12)


def text(rows):
    """Rows as text, in which NaN is NaN."""
    return [repr(row) for row in rows]


def test_rows_come_out_as_they_went_in():
    given = list(some_rows())
    rows = Rows(given)
    assert len(rows) == len(given)
    assert text(rows) == text(given)
    assert text([rows[-1], rows[2]]) == text([given[-1], given[2]])
    assert text(rows[1:5:2]) == text(given[1:5:2])
    with pytest.raises(IndexError):
        rows[len(given)]


def test_rows_are_added_to_rows_that_were_looked_at(monkeypatch):
    monkeypatch.setattr("parity.rows._BLOCK", 3)
    given = list(some_rows(20))
    rows = Rows()
    for start in range(0, 20, 4):
        rows += given[start : start + 4]
        assert text(rows) == text(given[: start + 4])


def test_what_is_added_to_a_selection_does_not_change_what_it_was_selected_from():
    given = list(some_rows())
    rows = Rows(given)
    some = rows.where(quantity="gradient")
    some.append(bare_row("float32", 0, "loss", "", "new", "differs", "new"))
    some.append(judge("float32", 0, "loss", "", "b", Metrics(1, *[1.0] * 7, (8, 9), 1.0, 1.0), 1.0))
    assert text(rows) == text(given)
    assert text(some) == text([*[row for row in given if row.quantity == "gradient"], some[-2], some[-1]])
    assert (some[-2].name, some[-1].metrics.worst_index) == ("new", (8, 9))
    rows.append(given[0])
    assert text(rows) == text([*given, given[0]])


@pytest.mark.parametrize(
    "wanted",
    [
        {"quantity": "gradient"},
        {"status": ("missing", "differs")},
        {"iteration": 3, "dtype": "float64"},
        {"good": False},
        {"good": True, "name": ("w0", "w1", "nobody")},
        {"name": "nobody"},
    ],
    ids=str,
)
def test_rows_are_selected_by_their_values(wanted):
    def fits(row, name, value):
        return getattr(row, name) in (value if isinstance(value, tuple | set) else (value,))

    given = list(some_rows())
    expected = [row for row in given if all(fits(row, *each) for each in wanted.items())]
    assert text(Rows(given).where(**wanted)) == text(expected)


def test_masks_are_the_rows_own_properties():
    given = [*some_rows(), *synthetic_result(8, 2, wrong=[1]).rows]
    given += [Row("float64", 0, "activation", "", "a", "equal", 0.0, 1.0, metrics=given[0].metrics)]
    rows = Rows(given)
    assert rows.good.tolist() == [row.good for row in given]
    assert rows.inner.tolist() == [row.quantity in ("activation", "signal") for row in given]
    assert rows.measured.tolist() == [row.metrics is not None for row in given]
    assert rows.finite.tolist() == [row.metrics is not None and row.metrics.finite for row in given]
    relative = [row.metrics.relative_l2 if row.metrics else math.nan for row in given]
    np.testing.assert_array_equal(rows.relative_l2, relative)
    assert rows.texts("name") == [row.name for row in given]
    assert rows.values("status") == {row.status for row in given}


def test_keys_are_shared_by_rows_of_the_same_texts():
    rows = Rows(some_rows())
    rows.keys("name")
    rows += [bare_row("float64", 0, "loss", network, "new", "differs", "") for network in ("", "other", "")]
    keys = rows.keys("network", "name").tolist()
    texts = [*zip(rows.texts("network"), rows.texts("name"), strict=True)]
    assert keys[-1] == keys[-3]
    assert len(set(keys)) == len(set(texts)) == len(rows) - 1


def test_a_norm_of_zero_makes_the_relative_difference_infinite_or_zero():
    def row(reference, difference):
        figures = Metrics(1, reference, 1.0, difference, 1.0, 1.0, 1.0, 1.0, (0,), 1.0, 1.0)
        return Row("float64", 0, "loss", "", "loss", "differs", 1.0, 1.0, metrics=figures)

    given = [row(0.0, 0.0), row(0.0, 1.0), row(2.0, 1.0)]
    assert Rows(given).relative_l2.tolist() == [each.metrics.relative_l2 for each in given]
    assert Rows(given).relative_l2.tolist() == [0.0, math.inf, 0.5]


def test_a_file_of_rows_is_read_back_as_they_were(tmp_path):
    given = list(some_rows(20))
    for rows in (Rows(given), Rows(given).where(good=False), Rows(given)[::-1], Rows()):
        save_rows(rows, tmp_path / "rows.safetensors")
        assert text(load_rows(tmp_path / "rows.safetensors")) == text(rows)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.safetensors"]


def words(*texts):
    return np.frombuffer(json.dumps(texts).encode(), np.uint8).copy()


HOSTILE = {
    "a position before the first": lambda tensors: tensors["name"].__setitem__(0, -1),
    "a position after the last": lambda tensors: tensors["network"].__setitem__(0, 1),
    "a column too short": lambda tensors: tensors.update(error=tensors["error"][1:].copy()),
    "another dtype": lambda tensors: tensors.update(error=tensors["error"].astype(np.float32)),
    "two dimensions": lambda tensors: tensors.update(limit=tensors["limit"][None].copy()),
    "a column missing": lambda tensors: tensors.pop("floor"),
    "a column too many": lambda tensors: tensors.update(more=tensors["floor"]),
    "too few numbers": lambda tensors: tensors.update({"ulps.numbers": tensors["ulps.numbers"][1:].copy()}),
    "lengths that wrap around": lambda tensors: tensors["worst_index"].fill(255),
    "an unknown status": lambda tensors: tensors.update({"status.words": words("fine", "good", "well")}),
    "an unknown quantity": lambda tensors: tensors.update({"quantity.words": words("sum", "loss")}),
    "an unknown dtype": lambda tensors: tensors.update({"dtype.words": words("float8")}),
    "texts that are no list": lambda tensors: tensors.update({"note.words": np.zeros(3, np.uint8)}),
    "texts that are numbers": lambda tensors: tensors.update({"network.words": words(1)}),
    "a text twice": lambda tensors: tensors.update({"network.words": words("net", "net")}),
    "nested texts": lambda tensors: tensors.update({"note.words": np.full(100_000, ord("["), np.uint8)}),
    "a negative count": lambda tensors: tensors["count"].__setitem__(0, -2),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_was_tampered_with_is_refused_by_name(change, tmp_path):
    path = tmp_path / "rows.safetensors"
    save_rows(Rows(some_rows()), path)
    tensors = {name: array.copy() for name, array in load_file(path).items()}
    change(tensors)
    save_file(tensors, path, {"schema": "dgtool.rows/1"})
    with pytest.raises(TraceError, match=r"rows\.safetensors: holds no readable rows"):
        load_rows(path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x08" + bytes(7) + b"{}      "], ids=len)
def test_what_is_no_file_of_rows_is_refused_by_name(content, tmp_path):
    path = tmp_path / "rows.safetensors"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r"rows\.safetensors: holds no readable rows"):
        load_rows(path)
