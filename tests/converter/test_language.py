"""The language of rules: what is read, what is refused, and that every rule runs both ways."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter import UsageError
from converter.language import Name, parse_rule
from converter.operations import apply, invert, result_shapes, same_bits
from converter.rules import LAYER_RULES
from converter.words import OPERATIONS

EVERY_RULE = [(kind, rule) for kind, rules in LAYER_RULES.items() for rule in rules]


@pytest.mark.parametrize("text", [str(rule) for _, rule in EVERY_RULE])
def test_a_rule_reads_as_it_is_written(text):
    assert str(parse_rule(text)) == text


@pytest.mark.parametrize(
    ("template", "name", "values"),
    [
        ("h.{i}.attn.weight", "h.11.attn.weight", {"i": "11"}),
        ("h.{i}.attn.weight", "h.x.attn.weight", None),
        ("h.{i}.attn.weight", "h.1.attn.weights", None),
        ("{block:word}.fc", "left.fc", {"block": "left"}),
        ("{block:word}.fc", "left.right.fc", None),
        ("{block:path}.fc", "left.right.fc", {"block": "left.right"}),
        ("a.b", "a_b", None),
    ],
)
def test_names_match_whole_components_only(template, name, values):
    parsed = Name.parse(template)
    assert parsed.match(name) == values
    if values is not None:
        assert parsed.fill(values) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a.weight", "write TORCH -> PADDLE"),
        ("a -> b, rotate", "'rotate' is no operation (there are keep, transpose"),
        ("a.{i} -> b", "both sides must use the same variables"),
        ("a.{i}.{i} -> b.{i}", "uses one variable twice"),
        ("a + b -> c + d, concat 0", "one side must be a single tensor"),
        ("a -> b + c", "1 tensor(s) become 2: say how, with one split"),
        ("a + b -> c, split 0", "2 tensor(s) become 1: say how, with one concat"),
        ("a -> b, split 0", "split and concat need several tensors"),
        ("a -> b + c = d, split 0", "only a single tensor can have further names"),
        ("a -> b, permute", "write permute as in 'permute 2 0 1'"),
        ("a -> nothing, transpose", "there is nothing to do"),
        ("nothing -> nothing", "there is nothing to do"),
        ("a -> b, with", "'with' is no operation"),
        ("a -> b, permute x", "'x' are no whole numbers"),
        ("a -> b, reshape 4x-1 8", "'4 -1' are no whole numbers"),
        ("a -> b, cast float32 float99", "'float99' is no dtype"),
        ("a -> b, cast float32 O", "'O' is no dtype"),
        ("a -> b + c, split 0 1 2 3", "the sizes of all 2 parts or none"),
        ("a -> b, flatten v", "flatten takes another tensor's name and one of its axes"),
        ("a.{0}.w -> b.{0}.w", "is no tensor name"),
        ("a.{p:path}.w -> b.{p}.w", "both sides must use the same variables"),
        ("a -> b, with c.{i}", "both sides must use the same variables"),
        (" -> b", "'' is no tensor name"),
        ("a b -> c", "'a b' is no tensor name"),
        ("a{ -> c", "'a{' is no tensor name"),
    ],
)
def test_what_is_no_rule_is_quoted_with_the_reason(text, reason):
    with pytest.raises(UsageError) as caught:
        parse_rule(text)
    assert f"cannot read the rule '{text}': " in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shape", "reason"),
    [
        ("a -> b, transpose", (2, 3, 4), "transpose takes two dimensions"),
        ("a -> b, permute 0 2 1", (2, 3), "axes [0, 2, 1] do not fit the shape [2, 3]"),
        ("a -> b, permute 0 0", (2, 3), "takes every axis once"),
        ("a -> b, reshape 2x3 7", (2, 3), "[2, 3] cannot become [7]"),
        ("a -> b, reshape 2x3 6", (3, 2), "[3, 2] cannot become [6]"),
        ("a -> b + c, split 0", (3, 2), "cannot be cut along axis 0 into 2 equal parts"),
        ("a -> b + c, split 3", (4, 2), "cannot be cut along axis 3"),
        ("a -> b + c, split 0 1 2", (4, 2), "cannot be cut along axis 0 into [1, 2]"),
        ("a -> b, unsqueeze 5", (2,), "has no place for an axis 5"),
    ],
)
def test_an_operation_that_does_not_fit_the_shape_says_so(text, shape, reason):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_rule(text).bind([shape], forward=True)
    assert reason in str(caught.value)


def test_parts_that_do_not_go_together_are_refused():
    rule = parse_rule("a -> b + c, split 0")
    with pytest.raises(ValueError, match="unequal sizes"):
        rule.bind([(2, 3), (1, 3)], forward=False)
    with pytest.raises(ValueError, match="cannot be joined along axis 0"):
        rule.bind([(2, 3), (2, 4)], forward=False)
    assert rule.bind([(2, 3), (2, 3)], forward=False)


ROUND_TRIPS = [
    ("a -> b", [(2, 3)]),
    ("a -> b, keep", [(2, 3)]),
    ("a -> b, transpose", [(3, 3)]),
    ("a -> b, permute 2 0 1", [(2, 3, 4)]),
    ("a -> b, reshape 4x6 24", [(4, 6)]),
    ("a -> b, reshape scalar 1", [()]),
    ("a -> b, unsqueeze 0", [(3,)]),
    ("a -> b + c + d, split 0, transpose", [(6, 2)]),
    ("a -> b + c, split 1 1 3", [(2, 4)]),
    ("a + b -> c, transpose, concat 1", [(2, 3), (2, 3)]),
    ("a + b -> c, concat 0 1 2", [(1, 3), (2, 3)]),
    ("a -> b, cast float32 float64, transpose", [(2, 3)]),
]


@pytest.mark.parametrize(("text", "shapes"), ROUND_TRIPS)
def test_every_operation_runs_both_ways(text, shapes):
    """What the operations say of shapes is what they do, and undoing them gives the same bits."""
    rule = parse_rule(text)
    arrays = [
        np.asarray(np.random.RandomState(n).randn(*shape), np.float32) for n, shape in enumerate(shapes)
    ]
    operations = rule.bind(shapes, forward=True)
    results = apply(operations, arrays)
    assert [result.shape for result in results] == result_shapes(operations, shapes)
    backwards = rule.bind([result.shape for result in results], forward=False)
    for back in (backwards, invert(operations)):
        again = apply(back, [np.ascontiguousarray(result).reshape(result.shape) for result in results])
        assert all(same_bits(first, second) for first, second in zip(again, arrays, strict=True))


def test_every_word_of_the_language_is_tried_above():
    tried = {word for text, _ in ROUND_TRIPS for word, *_ in parse_rule(text).operations}
    assert tried | {"flatten"} == set(OPERATIONS)  # flatten needs a model on its way back: see below


def test_flatten_goes_back_to_the_shape_that_a_model_or_a_sibling_tells():
    rule = parse_rule("a -> b, flatten v 0")
    assert result_shapes(rule.bind([(4, 1, 1)], forward=True), [(4, 1, 1)]) == [(4,)]
    assert result_shapes(rule.bind([()], forward=True), [()]) == [()]
    told = rule.bind([(24,)], forward=False, torch_shape=(4, 6))
    assert result_shapes(told, [(24,)]) == [(4, 6)]
    sibling = rule.bind([(4,)], forward=False, sibling={"v": (4, 3, 3)}.get)
    assert result_shapes(sibling, [(4,)]) == [(4, 1, 1)]
    with pytest.raises(ValueError, match="norms along another axis"):
        rule.bind([(5,)], forward=False, sibling={"v": (4, 3, 3)}.get)
    with pytest.raises(ValueError, match="nothing tells its shape"):
        rule.bind([(4,)], forward=False)
    with pytest.raises(ValueError, match=r"\[24\] cannot become \[4, 5\]"):
        rule.bind([(24,)], forward=False, torch_shape=(4, 5))


@given(st.data())
def test_a_permutation_and_its_inverse_meet(data):
    axes = data.draw(st.permutations(range(data.draw(st.integers(1, 5)))))
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * len(axes)))
    rule = parse_rule(f"a -> b, permute {' '.join(map(str, axes))}")
    array = np.arange(np.prod(shape)).reshape(shape)
    operations = rule.bind([shape], forward=True)
    (there,) = apply(operations, [array])
    assert np.array_equal(there, array.transpose(axes))
    assert np.array_equal(apply(rule.bind([there.shape], forward=False), [there])[0], array)
