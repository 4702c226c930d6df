"""Training checkpoints as people keep them: the part that is meant, named, and nothing else taken apart."""

import numpy as np
import pytest

from converter import FormatError, PlanError, UsageError, convert, open_checkpoint, open_source, select
from converter.formats import torch
from converter.knowledge import Assumption
from converter.selection import groups, hints

EYE = np.eye(2, dtype=np.float32)


@pytest.fixture
def training(tmp_path):
    """A checkpoint with a wrapped model, an optimizer's state and two numbers."""
    tensors = [
        (("model_state", "module.fc.weight"), np.arange(4, dtype=np.float32).reshape(2, 2)),
        (("model_state", "module.fc.bias"), EYE[0]),
        (("ema", "fc.weight"), EYE),
        (("optimizer_state", "state", "0", "exp_avg"), EYE),
        (("optimizer_state", "state", "1", "exp_avg"), EYE[0]),
    ]
    with (tmp_path / "t.pth").open("wb") as file:
        torch.write(file, "torch", tensors, {("step",): 7, ("model_state", "tag"): "x"})
    return tmp_path / "t.pth"


def test_what_a_training_checkpoint_holds_is_listed(training):
    found = groups(open_checkpoint(training))
    assert [(group.key, len(group.tensors), group.kind, group.prefix) for group in found] == [
        (("model_state",), 2, "state dict", "module."),
        (("ema",), 1, "state dict", ""),
        (("optimizer_state",), 2, "state of a Torch optimizer", ""),
    ]


def test_a_key_and_a_prefix_choose_and_what_is_left_out_is_said(training):
    chosen, said = select(open_checkpoint(training), "model_state", "module.")
    assert list(chosen.tensors) == ["fc.weight", "fc.bias"]
    assert chosen.scalars == {("tag",): "x"}
    assert said == (
        "key model_state; left out: ema (1 tensors), optimizer_state (2 tensors), 1 values that are no tensors; "
        "prefix module. taken off 2 names"
    )


def test_a_prefix_may_end_within_a_group(training):
    chosen, _ = select(open_checkpoint(training), None, "model_state.module.")
    assert chosen.tensors["fc.weight"].path == ("fc.weight",)
    assert "ema.fc.weight" in chosen.tensors


def test_what_is_not_there_is_a_usage_error_that_lists_what_is(training):
    with pytest.raises(UsageError, match=r"no tensors under the key 'model' .*'model_state', 'ema'"):
        select(open_checkpoint(training), "model")
    with pytest.raises(UsageError, match="no tensor's name .* starts with 'net.'"):
        select(open_checkpoint(training), "ema", "net.")


def test_names_that_become_one_without_the_prefix_are_refused(tmp_path):
    with (tmp_path / "a.pth").open("wb") as file:
        torch.write(file, "torch", [(("module.a",), EYE), (("a",), EYE)])
    with pytest.raises(FormatError, match="two tensors have the same name"):
        select(open_checkpoint(tmp_path / "a.pth"), None, "module.")


def test_a_plan_that_fails_says_which_keys_and_prefixes_there_are(training):
    with pytest.raises(PlanError) as caught:
        open_source(training, assumptions=Assumption.parse_all(["linear=fc"])).plan()
    for hint in (
        "--key model_state  2 tensors, state dict",
        "--key optimizer_state  2 tensors, state of a Torch optimizer",
        "Every name under model_state starts with 'module.': add --strip-prefix module.",
    ):
        assert hint in str(caught.value)
    assert not list(hints(open_checkpoint(training), "ema", None))


def test_the_chosen_part_is_converted_alone(training, tmp_path):
    convert(
        training,
        tmp_path / "m.pdparams",
        key="model_state",
        strip_prefix="module.",
        assumptions=Assumption.parse_all(["linear=fc"]),
    )
    written = open_checkpoint(tmp_path / "m.pdparams")
    assert list(written.tensors) == ["fc.weight", "fc.bias"]
    assert written.read("fc.weight").tolist() == [[0, 2], [1, 3]]
