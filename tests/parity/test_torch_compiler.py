"""The compiler that Torch's optimizers would import: not before it is wanted, and then the real one."""

import pytest

PROGRAM = """
import inspect, sys
import torch
from parity.frameworks import torch as adapter

adapter.prepare("float32", 1)
layer = torch.nn.Linear(3, 3)
optimizer = torch.optim.Adam(layer.parameters())

def step():
    optimizer.zero_grad()
    layer(torch.ones(2, 3)).sum().backward()
    optimizer.step()

def loaded():
    return "torch._dynamo.eval_frame" in sys.modules

step()
inspect.getmodule(sys._getframe())  # looks through all modules
print(loaded(), hasattr(torch.optim.Optimizer.zero_grad.__wrapped__, "__dynamo_disable"))

import torch._dynamo.config
print(loaded(), type(torch._dynamo) is type(sys), torch._dynamo is sys.modules["torch._dynamo"])
print(hasattr(torch.optim.Optimizer.zero_grad.__wrapped__, "__dynamo_disable"))
step()
print(torch.optim.Optimizer.zero_grad.__wrapped__.__dict__["__dynamo_disable"].__module__)

adapter.prepare("float64", 1)
print(type(torch._dynamo) is type(sys))
print(torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).item())
"""


@pytest.mark.traced
def test_steps_do_not_import_it_and_whoever_wants_it_gets_the_real_one(run_python):
    """A submodule, as its own code asks for it; what Torch had kept of the stand-in is forgotten."""
    shown = run_python(PROGRAM)
    assert shown == "False True\nTrue True True\nFalse\ntorch._dynamo.eval_frame\nTrue\n2.0\n"
