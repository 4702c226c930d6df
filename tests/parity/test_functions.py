"""The simple form of a side: in which order a module's functions are called."""

from types import SimpleNamespace

from parity.functions import FunctionsSide


class Recorded:
    """A loss, an optimizer, a schedule and an observer, each of which notes what is done to it."""

    def __init__(self, done, name):
        self.done, self.name = done, name

    def __getattr__(self, what):
        return lambda *_, **__: self.done.append(f"{self.name}.{what}")


def test_gradients_are_recorded_before_they_are_clipped():
    done = []
    module = SimpleNamespace(
        model=lambda options: "net",
        loss=lambda model, batch: Recorded(done, "loss"),
        optimizer=lambda model, options: Recorded(done, "optimizer"),
        scheduler=lambda optimizer, options: Recorded(done, "scheduler"),
        clip=lambda model: done.append(f"clip {model}"),
    )
    FunctionsSide(module, {}, None).training_step(0, {}, Recorded(done, "observer"))
    assert done == [
        "observer.loss",
        "loss.backward",
        "observer.gradients",
        "clip net",
        "optimizer.step",
        "optimizer.clear_grad",
        "scheduler.step",
    ]
