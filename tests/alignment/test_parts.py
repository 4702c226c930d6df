"""What an alignment is made of, without a framework: sketches, weights, proposals, rules as text."""

import numpy as np
import pytest

from converter import UsageError, _toml
from converter.language import Name, Rule, parse_rule
from converter.rule_file import RuleFile
from parity.alignment.binding import bind, converted
from parity.alignment.draw import draw_tensor
from parity.alignment.propose import Proposal
from parity.alignment.prove import Proof, _compare
from parity.alignment.rule_text import folded, spelled_toml
from parity.alignment.sketch import Sketch, sketch_of
from parity.alignment.units import view_of

RANDOM = np.random.default_rng(0)


def test_a_sketch_knows_the_same_values_in_any_layout_and_no_others():
    image = RANDOM.standard_normal((2, 3, 4, 5))
    same = sketch_of(image.transpose(0, 2, 3, 1).reshape(2, 20, 3))
    assert sketch_of(image).holds_what(same, 1e-12)
    moved = image.copy()
    moved[1, 2, 3, 4] += 1e-6
    assert not sketch_of(image).holds_what(sketch_of(moved), 1e-9)
    assert not sketch_of(image).holds_what(sketch_of(image[:, :, :, :4]), 1e-9)
    assert not sketch_of(image).holds_what(sketch_of(-image), 1e-9)
    assert Sketch.read(same.sent()) == same


def test_a_sketch_estimates_the_relative_error():
    image = RANDOM.standard_normal((50, 40))
    apart = 1e-7 * RANDOM.standard_normal((50, 40))
    assert sketch_of(image).error(sketch_of(image)) == 0.0
    assert 1e-8 < sketch_of(image).error(sketch_of(image + apart)) < 1e-6
    assert sketch_of(image).error(sketch_of(image.T)) == np.inf
    assert sketch_of(image).error(sketch_of(np.ascontiguousarray(image[::-1]))) > 0.1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_like_nothing(value):
    sketch = sketch_of(np.array([1.0, value]))
    assert not sketch.holds_what(sketch, 1e-9)
    assert not sketch.error(sketch) <= 1e-9
    proof = Proof()
    array = np.array([1.0, value])
    _compare(proof, "output", [("output 0", array, array)])
    assert [problem.name for problem in proof.problems] == ["output 0"]
    assert proof.errors["output"] == np.inf


def test_a_proof_never_broadcasts():
    proof = Proof()
    _compare(proof, "output", [("output 0", np.ones((2, 1)), np.ones((2, 3)))])
    assert str(proof.problems[0]) == "'output 0': the reference's output is [2, 1], the port's [2, 3]"


def test_drawn_weights_are_like_no_others_and_not_special():
    weight = draw_tensor(0, "a.weight", (6, 4, 3, 3))
    assert np.array_equal(weight, draw_tensor(0, "a.weight", (6, 4, 3, 3)))
    assert not np.array_equal(weight, draw_tensor(0, "b.weight", (6, 4, 3, 3)))
    assert not np.array_equal(weight, draw_tensor(1, "a.weight", (6, 4, 3, 3)))
    for leaf in ("running_var", "_variance"):
        assert draw_tensor(0, f"bn.{leaf}", (1000,)).min() > 0.4
    assert abs(draw_tensor(0, "bn.bias", (1000,))).min() > 0.0
    assert np.ptp(draw_tensor(0, "bn.weight", (1000,))) > 0.9


def described(framework, tensors, kind="Linear"):
    """What a worker says of Linears in a row, each by its name and the sizes of its weight."""
    base = f"torch.nn.modules.linear.{kind}" if framework == "torch" else f"paddle.nn.layer.common.{kind}"
    layers = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    sketch = [[2, 4], [1.0] * 5, [1.0] * 3]
    calls = [{"path": "", "inputs": [sketch]}]
    calls += [
        {"path": path, "inputs": [[[2, n], [float(n)] * 5, [1.0] * 3]]} for n, path in enumerate(layers)
    ]
    return {
        "model": {
            "framework": framework,
            "modules": {"": [f"user.Net.{framework}"], **{path: [base] for path in layers}},
            "tensors": {
                name: {"shape": shape, "dtype": "float64", "buffer": False, "optional": False}
                for name, shape in tensors.items()
            },
            "ties": [],
            "parameters": list(tensors),
            "parameter_names": {},
            "torch_shapes": {},
        },
        "calls": calls,
        "outputs": [sketch],
    }


def test_what_is_likely_goes_by_names_where_shapes_do_not_tell():
    reference = view_of(described("torch", {f"{n}.weight": [4, 4] for n in ("query", "key", "value")}), "")
    port = view_of(described("paddle", {f"{n}_proj.weight": [4, 4] for n in ("value", "query", "key")}), "")
    proposal = Proposal.of(reference, port, 1e-9)
    firsts = {unit.label: proposal.likeliest(unit)[0].label for unit in port.units}
    assert firsts == {"value_proj": "value", "query_proj": "query", "key_proj": "key"}


def test_what_is_likely_goes_by_the_order_of_calls_where_names_say_nothing():
    sizes = ([4, 5], [5, 6], [6, 5], [5, 6])
    reference = view_of(
        described("torch", {f"{n}.weight": size for n, size in zip("abcd", sizes, strict=True)}), ""
    )
    port = view_of(
        described("paddle", {f"{n}.weight": size[::-1] for n, size in zip("wxyz", sizes, strict=True)}), ""
    )
    proposal = Proposal.of(reference, port, 1e-9)
    firsts = {unit.label: proposal.likeliest(unit)[0].label for unit in port.units}
    assert firsts == {"w": "a", "x": "b", "y": "c", "z": "d"}


def test_a_square_weight_is_transposed_by_its_kind():
    (ours,) = view_of(described("torch", {"fc.weight": [4, 4]}), "").units
    (theirs,) = view_of(described("paddle", {"out.weight": [4, 4]}), "").units
    (match,) = bind([ours], [theirs])
    weight = RANDOM.standard_normal((4, 4))
    assert np.array_equal(converted(match.rules, {"fc.weight": weight})["out.weight"], weight.T)
    assert match.whole


def test_parts_of_unequal_sizes_are_cut_where_they_end():
    (packed,) = view_of(described("torch", {"qkv.weight": [8, 4]}), "").units
    parts = view_of(
        described("paddle", {"q.weight": [4, 4], "k.weight": [4, 2], "v.weight": [4, 2]}), ""
    ).units
    (match,) = bind([packed], parts)
    assert str(match.rules[0]) == "qkv.weight -> q.weight + k.weight + v.weight, split 0 4 2 2, transpose"
    assert not list(bind([packed], parts[:2]))


def rules(*texts):
    return [parse_rule(text) for text in texts]


def test_numbered_rules_fold_where_the_numbers_are_the_same():
    layers = [f"layers.{i}.ln{j}.weight -> blocks.{i}.norm_{j}.weight" for i in range(3) for j in (1, 2)]
    assert folded(rules("head.weight -> out.weight", *layers)) == [
        "head.weight -> out.weight",
        "layers.{i}.ln{j}.weight -> blocks.{i}.norm_{j}.weight",
    ]


def test_numbers_that_are_not_the_same_stay():
    shifted = [f"block{i}.{j}.weight -> stage{i + 1}.{j}.weight" for i in (1, 2) for j in (0, 1)]
    assert folded(rules(*shifted)) == [
        "block1.{i}.weight -> stage2.{i}.weight",
        "block2.{i}.weight -> stage3.{i}.weight",
    ]
    alone = ["a.0.weight -> b.0.weight", "a.1.weight -> c.weight", "a.2.weight -> b.2.weight"]
    assert folded(rules(*alone)) == alone  # a.{i} would take a.1 too


def test_a_name_that_no_rule_can_spell_is_an_error():
    rule = Rule((Name("a b.weight"),), (Name("c.weight"),))
    with pytest.raises(UsageError, match="cannot read the rule 'a b.weight -> c.weight'"):
        folded([rule])


def test_modules_are_carried_and_the_proof_is_not_read():
    text = spelled_toml(["by\nnobody"], ["a -> b"], {'odd"name': "b.0"}, {"seed": 0, "torch": "2"})
    read = RuleFile.parse(_toml.loads(text))
    assert read.modules == {'odd"name': "b.0"}
    assert [str(rule) for rule in read.rules] == ["a -> b"]
    with pytest.raises(UsageError, match="gives the port's path, in quotes"):
        RuleFile.parse({"modules": {"a": 1}})


WORKER = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"scipy", "rapidfuzz", "rich", "typer", "ml_dtypes", "safetensors"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import parity.alignment.worker
assert not {"torch", "paddle"} & sys.modules.keys()
"""


def test_a_worker_needs_numpy_and_its_framework_only(run_python):
    run_python(WORKER)
