"""Scripts of one's own, recorded by a few lines each, and compared."""

import numpy as np
import pytest

from parity import Trace
from parity.compare_files import compare_files
from parity.reprod import read

LOOP = """
import sys
import numpy as np
import {framework} as framework
from {framework} import nn
from parity import Recorder

framework.set_default_dtype(framework.float64)
out, rate, ending = sys.argv[1], float(sys.argv[2]), sys.argv[3]
random = np.random.RandomState(0)
weight, bias = random.randn(2, 4), random.randn(2)
model = nn.Linear(4, 2)
{prepare}
with Recorder(out, framework="{framework}") as record:
    record.watch(model, optimizer)
    for iteration in range(2):
        inputs = framework.{tensor}(random.randn(3, 4))
        loss = (model(inputs) ** 2).mean()
        loss.backward()
        optimizer.step()
        record.add("loss", loss)
        record.add(f"output_{{iteration}}", model(inputs).detach().numpy())
        record.add(f"weight_{{iteration}}", model.weight)
        record.step()
        optimizer.{clear}()
        if ending == "raise":
            raise SystemExit(7)
    record.save(out + ".npy")
"""
SIDES = {
    "torch": {
        "prepare": "model.load_state_dict({'weight': framework.tensor(weight), 'bias': framework.tensor(bias)})\n"
        "optimizer = framework.optim.Adam(model.parameters(), lr=rate)",
        "tensor": "from_numpy",
        "clear": "zero_grad",
    },
    "paddle": {
        "prepare": "model.set_state_dict({'weight': weight.T, 'bias': bias})\n"
        "optimizer = framework.optimizer.Adam(rate, parameters=model.parameters())",
        "tensor": "to_tensor",
        "clear": "clear_grad",
    },
}


@pytest.fixture(scope="module")
def traces(tmp_path_factory, run_python):
    folder = tmp_path_factory.mktemp("loops")
    for framework, parts in SIDES.items():
        run_python(LOOP.format(framework=framework, **parts), folder / framework, 0.01, "well")
    run_python(LOOP.format(framework="paddle", **SIDES["paddle"]), folder / "faster", 0.011, "well")
    return folder


def test_equal_loops_agree(traces):
    rows = compare_files(traces / "torch", traces / "paddle")
    assert all(row.good for row in rows)
    found = {(row.iteration, row.quantity, row.name) for row in rows if row.metrics is not None}
    assert found >= {
        (-1, "parameter", "weight"),
        (0, "gradient", "weight"),
        (1, "parameter", "bias"),
        (1, "optimizer", "weight/exp_avg"),
        (1, "loss", "loss"),
    }
    assert Trace.open(traces / "torch").dtype == "float64"


def test_another_rate_shows_in_what_the_step_leaves(traces):
    wrong = [row for row in compare_files(traces / "torch", traces / "faster") if not row.good]
    assert (wrong[0].iteration, wrong[0].quantity) == (0, "parameter")


def test_values_are_kept_for_reprod_log(traces):
    """Of every name the last value, as ReprodLogger keeps it and as it was; larger arrays are not losses."""
    data = read(traces / "torch.npy")
    assert set(data) == {"loss", "output_0", "output_1", "weight_0", "weight_1"}
    assert abs(data["weight_1"] - data["weight_0"]).min() > 1e-3
    assert data["output_1"].shape == (3, 2)
    assert np.allclose(data["output_1"], read(traces / "paddle.npy")["output_1"], rtol=1e-12)


def test_a_script_that_fails_leaves_no_trace(tmp_path, run_python):
    with pytest.raises(AssertionError):
        run_python(LOOP.format(framework="torch", **SIDES["torch"]), tmp_path / "run", 0.01, "raise")
    assert not list(tmp_path.iterdir())
