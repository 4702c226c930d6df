"""Paddle's own networks against Torch twins with Torch's names: aligned without a hand-written map."""

import pytest

from parity.alignment.align import Input, align

NETWORKS = {
    "alexnet": ("AlexNet", 224, "8 of 8"),  # which has a Linear behind 6x6 pixels, and 61 million parameters
    "squeezenet1_1": ("SqueezeNet", 64, "26 of 26"),
    "densenet121": ("DenseNet121", 64, "121 of 242"),  # Paddle's BatchNorms have the ReLU in them
    "mobilenet_v3_small": ("MobileNetV3Small", 64, "88 of 88"),
    "shufflenet_v2_x1_0": ("ShuffleNetV2", 64, "113 of 113"),
}


@pytest.mark.slow
@pytest.mark.parametrize("port", NETWORKS)
def test_a_network_of_paddles_is_aligned(port):
    reference, size, agree = NETWORKS[port]
    target = f"examples.vision.torch_twins:{reference}"
    found = align(target, f"paddle.vision.models:{port}", [Input((1, 3, size, size))])
    assert max(value for name, value in found.proof.items() if name.endswith("_error")) <= 1e-9
    assert found.proof["layers_that_agree"] == agree
    assert found.attempts == 1  # the data left no choice
