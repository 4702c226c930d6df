"""What a difference is put down to that begins after the first iterations."""

import numpy as np
import pytest

from parity.diagnosis import diagnose
from parity.evidence import Evidence
from parity.judge import judge
from parity.metrics import measure
from parity.rows import Rows


def embedding(setting, value):
    layer = {"class": "Embedding", "library": True, "settings": {setting: value}, "line": "port.py:3"}
    return {"networks": {"net": {"settings": {"emb": layer}}}}


def late(quantity, name):
    metrics = measure(np.array([1.0]), np.array([2.0]))
    return judge("float64", 3, quantity, "net", name, metrics, 1.0)


def evidence(*rows):
    sides = embedding("padding_idx", 0), embedding("_padding_idx", -1)
    return Evidence(("torch", "paddle"), *sides, rows=Rows(rows))


def test_a_setting_that_acts_late_explains_its_own_layers_tensor():
    (found,) = diagnose(evidence(late("gradient", "emb.weight"), late("parameter", "emb.weight")))
    assert (found.where, found.cause, found.stage) == ("net.emb", "padding_idx", "gradients")
    assert found.evidence == (
        "the reference is set to padding_idx 0, the port to None; "
        "the gradient net.emb.weight differs first, in iteration 3"
    )
    assert found.line == "port.py:3"


@pytest.mark.parametrize("name", ["fc.weight", "embedding.weight"])
def test_another_layers_tensor_stays_unexplained(name):
    first, second = diagnose(evidence(late("gradient", name)))
    assert (first.cause, first.where) == ("", f"net.{name}")
    assert "its cause is not known" in first.change
    assert (second.cause, second.stage) == ("padding_idx", "configuration")
