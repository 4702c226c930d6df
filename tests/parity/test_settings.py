"""Settings of both frameworks in one vocabulary: the same meaning is equal, another is a difference."""

import pytest

from parity.causes import CAUSES
from parity.settings import LAYERS, OPTIMIZERS, SCHEDULERS, differences
from parity.vocabulary import kind_of, operation_of

SIDES = ("torch", "paddle")
BATCH_NORM = (
    {"eps": 1e-5, "momentum": 0.1, "track_running_stats": True},
    {"_epsilon": 1e-5, "_momentum": 0.9, "_use_global_stats": None},
)
POOL = (
    {"kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": False, "count_include_pad": True},
    {"ksize": [3, 3], "stride": None, "padding": (1, 1), "ceil_mode": False, "exclusive": False},
)
CONVOLUTION = (
    {"kernel_size": [3, 3], "stride": [1, 1], "padding": "same", "dilation": [1, 1]},
    {"_kernel_size": [3, 3], "_stride": [1, 1], "_padding": 1, "_dilation": [1, 1]},
)


def causes(kind, torch, paddle):
    return [found.cause for found in differences(LAYERS[kind], SIDES, torch, paddle)]


@pytest.mark.parametrize(
    ("kind", "sides"),
    [
        ("batchnorm2d", BATCH_NORM),
        ("avgpool2d", POOL),
        ("softmax", ({"dim": 1, "rank": 2}, {"axis": -1, "rank": 2})),
        ("softmax", ({"dim": 1}, {"_axis": -1})),  # of a layer, whose input's rank is not known
        ("mean", ({"dim": [2, 3], "rank": 4}, {"axis": [-1, -2], "rank": 4})),
        ("mean", ({"dim": None, "rank": 2}, {"axis": [0, 1], "rank": 2})),
        *(
            ("conv2d", (CONVOLUTION[0], {**CONVOLUTION[1], "_padding": padding}))
            for padding in (1, [1, 1], [1, 1, 1, 1], [[0, 0], [0, 0], [1, 1], [1, 1]], "SAME")
        ),
    ],
)
def test_the_same_meaning_in_other_words_is_no_difference(kind, sides):
    assert causes(kind, *sides) == []


ENCODER = (
    {"norm_first": False, "activation_relu_or_gelu": 2},
    {"normalize_before": False, "activation": "gelu"},
)


def test_what_a_transformer_keeps_in_words_of_its_own_is_compared():
    assert causes("transformerencoderlayer", *ENCODER) == []
    assert causes("transformerencoderlayer", ENCODER[0], {**ENCODER[1], "activation": "relu"}) == [
        "activation"
    ]
    other = {**ENCODER[1], "normalize_before": True}
    assert causes("transformerencoderlayer", ENCODER[0], other) == ["norm_first"]
    unknown = {**ENCODER[0], "activation_relu_or_gelu": 0}  # a function that is neither
    assert causes("transformerencoderlayer", unknown, ENCODER[1]) == []


def test_a_float32_of_the_same_number_is_no_difference():
    assert causes("batchnorm2d", BATCH_NORM[0], {**BATCH_NORM[1], "_epsilon": 9.999999747378752e-06}) == []


@pytest.mark.parametrize(
    ("kind", "torch", "paddle", "cause"),
    [
        ("batchnorm2d", BATCH_NORM[0], {**BATCH_NORM[1], "_momentum": 0.1}, "momentum"),
        ("batchnorm2d", BATCH_NORM[0], {**BATCH_NORM[1], "_epsilon": 1.01e-5}, "epsilon"),
        ("batchnorm2d", BATCH_NORM[0], {**BATCH_NORM[1], "_use_global_stats": True}, "use_global_stats"),
        ("avgpool2d", POOL[0], {**POOL[1], "exclusive": True}, "exclusive"),
        ("avgpool2d", POOL[0], {**POOL[1], "stride": 2}, "stride"),
        ("gelu", {"approximate": "none"}, {"_approximate": True}, "approximate"),
        ("softmax", {"dim": -1, "rank": 3}, {"axis": 1, "rank": 3}, "axis"),
        ("mean", {"dim": [2, 3], "rank": 4}, {"axis": 1, "rank": 4}, "axis"),
        ("conv2d", CONVOLUTION[0], {**CONVOLUTION[1], "_padding": [1, 1, 1, 0]}, "padding"),
        ("conv2d", CONVOLUTION[0], {**CONVOLUTION[1], "_padding": "VALID"}, "padding"),
        ("interpolate", {"align_corners": None}, {"align_corners": True}, "align_corners"),
    ],
)
def test_another_meaning_is(kind, torch, paddle, cause):
    assert causes(kind, torch, paddle) == [cause]


def test_a_rule_against_sizes_is_a_difference_that_may_come_to_nothing():
    strided = [{**side, name: [2, 2]} for side, name in zip(CONVOLUTION, ("stride", "_stride"), strict=True)]
    (found,) = differences(
        LAYERS["conv2d"], SIDES, {**strided[0], "padding": 1}, {**strided[1], "_padding": "SAME"}
    )
    assert (found.cause, found.certain) == ("padding", False)


def test_optimizers_of_one_family_are_compared_setting_by_setting():
    torch = {"class": "Adam", "lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 1e-4}
    paddle = {"class": "Adam", "lr": 1e-3, "_beta1": 0.9, "_beta2": 0.999, "_epsilon": 1e-8}
    assert [found.cause for found in differences(OPTIMIZERS, SIDES, torch, paddle)] == ["weight_decay"]
    decoupled = {**paddle, "class": "AdamW", "weight_decay": 1e-4}
    assert [found.cause for found in differences(OPTIMIZERS, SIDES, torch, decoupled)] == ["decoupled_decay"]
    clipped = {**paddle, "weight_decay": 1e-4, "clip": ["ClipGradByGlobalNorm", 100.0]}
    assert [found.cause for found in differences(OPTIMIZERS, SIDES, torch, clipped)] == ["clipping"]


def test_every_setting_has_a_cause_that_can_be_said():
    tables = (*LAYERS.values(), OPTIMIZERS, SCHEDULERS)
    assert {row.cause for table in tables for row in table} <= CAUSES.keys()


@pytest.mark.parametrize(
    ("torch", "paddle"),
    [
        ("ConvTranspose2d", "Conv2DTranspose"),
        ("BatchNorm2d", "BatchNorm2D"),
        ("SiLU", "Silu"),
        ("SiLU", "Swish"),
        ("NonDynamicallyQuantizableLinear", "Linear"),
    ],
)
def test_kinds_have_one_name(torch, paddle):
    assert kind_of(torch) == kind_of(paddle)


def test_functions_have_one_name():
    assert operation_of("clamp") == operation_of("clip")
    assert operation_of("conv_transpose2d") == operation_of("conv2d_transpose")
