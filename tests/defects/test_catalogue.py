"""The catalogue itself: that it is complete, and that every mistake in it is planted by a patch."""

import ast
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from parity import UsageError
from parity.causes import CAUSES
from tests.defects.catalogue import BY_ID, CATALOGUE, TRIPLES
from tests.defects.clean import CLEAN, REWRITES
from tests.defects.defect import KINDS
from tests.defects.pairs import PAIRS, example_inputs

FOLDER = Path(__file__).parent
PREFIXES = {"discogan": "dg", "mixed": "mx", "known": "kn"}
PLANTED = [defect for defect in CATALOGUE if defect.kind != "framework"]


def tree(name):
    return ast.parse((FOLDER / f"{name}.py").read_text())


def modules_of_patches():
    """Read `planting.PATCHES` without importing what it names."""
    for node in tree("planting").body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "PATCHES":
            return ast.literal_eval(node.value)
    raise AssertionError("planting.py has no PATCHES")


def patches(net):
    """The public functions without parameters of a net's patches."""
    return [
        node.name
        for module in modules_of_patches()[net]
        for node in tree(module).body
        if isinstance(node, ast.FunctionDef) and not node.args.args and not node.name.startswith("_")
    ]


def names(name):
    """Every class and method with its parameters, in the file's order."""
    found = []
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.FunctionDef) and node.name != "scheduler":  # Paddle's is there first
            found.append((node.name, [argument.arg for argument in node.args.args]))
    return found


def test_ids_are_unique_and_name_their_net():
    ids = [case.id for case in (*CATALOGUE, *TRIPLES, *CLEAN, *REWRITES)]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    assert all(case.id.startswith(f"{PREFIXES[case.net]}-") for case in (*CATALOGUE, *TRIPLES))


def test_there_are_enough_cases_of_every_kind():
    kinds = Counter(defect.kind for defect in CATALOGUE)
    assert set(kinds) == set(KINDS)
    assert len(PLANTED) >= 75
    assert len(CLEAN) >= 27
    assert {case.iters for case in CLEAN} == {5, 30}
    assert {case.threads for case in CLEAN} == {1, 2}
    modes = Counter(defect.options.get("mode", "eval") for defect in PLANTED if defect.net == "discogan")
    assert min(modes["eval"], modes["train"]) >= 20


@pytest.mark.parametrize("net", ["discogan", "mixed"])
def test_every_mistake_has_a_patch_and_every_patch_is_used(net):
    found = patches(net)
    assert len(set(found)) == len(found)
    planted = [defect.patch for defect in PLANTED if defect.net == net]
    planted += [case.id[3:].replace("-", "_") for case in REWRITES if case.net == net]
    assert sorted(found) == sorted(planted)


def test_causes_are_those_that_a_finding_can_name():
    assert {cause for defect in CATALOGUE for cause in defect.causes} <= set(CAUSES)
    assert all(defect.where and defect.causes and defect.says for defect in CATALOGUE)


def test_places_are_of_the_net():
    for defect in CATALOGUE:
        options = PAIRS[defect.net].options(defect.given)
        networks = {path.partition(".")[0] for path in PAIRS[defect.net].layers(options)}
        inputs = {f"inputs.{name}" for name in PAIRS[defect.net].batch(options, 0)}
        for pattern in defect.where:
            first = pattern.partition(".")[0].partition("/")[0]
            known = first in ("step", "optimizers", "schedulers", "losses", "*", "inputs")
            assert known or any(fnmatchcase(name, first) for name in networks), (defect.id, pattern)
            assert first != "inputs" or pattern in inputs, (defect.id, pattern)


def test_several_at_once_are_of_one_net_and_different():
    for several in TRIPLES:
        assert len(set(several.defects)) >= 3
        assert {BY_ID[each].net for each in several.defects} == {several.net}
    causes = [{BY_ID[each].causes[0] for each in several.defects} for several in TRIPLES]
    assert {"negative_slope", "epsilon", "padding_mode"} in causes


def test_what_does_not_act_is_said_to():
    idle = {defect.id for defect in CATALOGUE if not defect.acts}
    assert {"dg-clip-idle", "mx-clip-idle", "mx-gamma"} <= idle
    assert len(idle) < len(CATALOGUE) / 10


@pytest.mark.parametrize("net", PAIRS)
def test_a_pair_describes_its_weights_and_batches(net):
    pair = PAIRS[net]
    options = pair.options({})
    layers, weights = pair.layers(options), pair.weights(options)
    described = {f"{path}.{name}" for path, spec in layers.items() for name in spec.tensors}
    assert described == {f"{network}.{name}" for network, state in weights.items() for name in state}
    assert set(example_inputs(net, options)) == set(weights)
    first, again = pair.batch(options, 0), pair.batch(options, 0)
    assert all((first[name] == again[name]).all() for name in first)


@pytest.mark.parametrize("case", CLEAN, ids=lambda case: case.id)
def test_options_of_clean_cases_are_the_pair_s(case):
    options = PAIRS[case.net].options(case.options)
    assert options["defect"] == []
    assert options.items() >= case.options.items()


def test_unknown_options_are_refused():
    for pair in PAIRS.values():
        with pytest.raises(UsageError, match="no option colour"):
            pair.options({"colour": 1})
        with pytest.raises(UsageError, match="list of the catalogue's ids"):
            pair.options({"defect": "dg-slope"})
    with pytest.raises(UsageError, match="mode must be one of train, eval"):
        PAIRS["mixed"].options({"mode": "test"})


@pytest.mark.parametrize("net", ["mixed", "known"])
def test_both_sides_are_written_alike(net):
    assert names(f"{net}_torch") == names(f"{net}_paddle")
