"""The ports, in Paddle, and what they compute. Imported by Paddle's process only."""

from functools import partial

import numpy as np
import paddle
from paddle import nn
from paddle.vision import models

from examples.bert.paddle_bert import BertConfig, BertModel, embed, minilm  # noqa: F401
from examples.crepe.paddle_crepe import full as crepe_full  # noqa: F401
from examples.crepe.paddle_crepe import tiny as crepe_tiny  # noqa: F401
from examples.gpt2.paddle_gpt2 import GPT2Config, GPT2LMHeadModel


def bert():
    return BertModel(BertConfig(50, 16, 2, 4, 24, 12, saved_position_ids=False))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(50, 12, 16, 2, 4))


def vgg11():
    """Paddle's own, with a classifier that is not 400 MB."""
    model = models.vgg11(num_classes=0)
    model.num_classes = 10
    first, second, third = nn.Linear(512 * 7 * 7, 16), nn.Linear(16, 16), nn.Linear(16, 10)
    model.classifier = nn.Sequential(first, nn.ReLU(), nn.Dropout(), second, nn.ReLU(), nn.Dropout(), third)
    return model


resnet18 = partial(models.resnet18, num_classes=10)
mobilenet_v2 = partial(models.mobilenet_v2, num_classes=10)


def load(weights, dtype):
    """Read a state dict, with its floating-point tensors in ``dtype``."""
    state = paddle.load(weights, return_numpy=True)
    return {name: array.astype(dtype) if array.dtype.kind == "f" else array for name, array in state.items()}


def compute(name, model, inputs):
    """Return all that the model says, and with it a sentence's embedding where it has one."""
    said = model(*inputs)
    outputs = [said] if paddle.is_tensor(said) else list(said)
    return [*outputs, embed(model, *inputs)] if name == "minilm" else outputs


@paddle.no_grad()
def main(name, weights, inputs, outputs):
    results = {}
    for dtype in ("float32", "float64"):
        paddle.set_default_dtype(dtype)
        model = globals()[name]()
        assert model.set_state_dict(load(weights, dtype)) == ([], [])
        model.eval()
        given = [paddle.to_tensor(array) for array in np.load(inputs).values()]
        given = [tensor.astype(dtype) if tensor.is_floating_point() else tensor for tensor in given]
        for i, tensor in enumerate(compute(name, model, given)):
            results[f"{dtype}.{i}"] = tensor.numpy()
    np.savez(outputs, **results)
