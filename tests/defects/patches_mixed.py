"""Mistakes of conversion, model and losses in the second net's Paddle side, one function each."""

import ml_dtypes
import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional

from tests.defects import mixed_paddle as port
from tests.defects.patching import after, layer_at, loads, loads_each, rounded

Net = port.Mixed


def _loading(wanted, change):
    after(Net, "__init__", lambda net: loads_each(net, wanted, change))


def _state(change):
    after(Net, "__init__", lambda net: loads(net, change))


def _built(change):
    after(Net, "__init__", change)


# Conversion


def fc_untransposed():
    _loading("text.fc.weight".__eq__, lambda array: array.T)


def linears_untransposed():
    _loading(
        lambda name: name.endswith("weight") and "text" in name,
        lambda a: a.T if a.ndim == 2 and a.shape[0] == a.shape[1] else a,
    )


def embedding_transposed():
    _loading("text.embedding.weight".__eq__, lambda array: array.T)


def stem_bias_lost():
    _loading("encoder.stem.bias".__eq__, lambda array: 0 * array)


def stem_bias_kept():
    _state(lambda state: {k: v for k, v in state.items() if k != "encoder.stem.bias"})


def statistics_lost():
    _state(lambda state: {k: v for k, v in state.items() if not k.endswith(("_mean", "_variance"))})


def gates():
    def reordered(array):
        i, f, g, o = np.split(array, 4)
        return np.concatenate([i, f, o, g])

    _loading(lambda name: "lstm" in name, reordered)


def lstm_biases_swapped():
    def change(state):
        for name in [name for name in state if "lstm" in name and "bias_ih" in name]:
            other = name.replace("bias_ih", "bias_hh")
            state[name], state[other] = state[other], state[name]
        return state

    _state(change)


def q_and_k_swapped():
    def change(state):
        for name in ("weight", "bias"):
            q, k = f"text.attention.q.{name}", f"text.attention.k.{name}"
            state[q], state[k] = state[k], state[q]
        return state

    _state(change)


def deconvolution_reversed():
    _loading("decoder.deconv.weight".__eq__, lambda array: array[::-1].copy())


def down_in_and_out():
    _loading("encoder.down.weight".__eq__, lambda array: array.swapaxes(0, 1).copy())


def embedding_row_lost():
    _loading("text.embedding.weight".__eq__, lambda a: np.concatenate([a[:5], 0 * a[5:6], a[6:]]))


def half():
    _loading(lambda name: True, lambda array: rounded(array, np.float16))


def bfloat16_head():
    _loading(lambda name: name.startswith("head"), lambda array: rounded(array, ml_dtypes.bfloat16))


def q_is_k():
    def change(net):
        net.text.attention.q = net.text.attention.k

    _built(change)


# Model


def bn_momentum():
    port.BATCH_NORM["momentum"] = 0.1


def bn_epsilon():
    port.BATCH_NORM["epsilon"] = 1e-3


def bn_epsilon_near():
    port.BATCH_NORM["epsilon"] = 1.01e-5


def bn_frozen():
    after(port.MixedSide, "__init__", lambda side: side.networks["net"].encoder.block.norm.eval())


def slope():
    port.LEAKY["negative_slope"] = 0.01


def layer_norm_epsilon():
    port.LAYER_NORM["epsilon"] = 1e-6


def pool_exclusive():
    port.POOL["exclusive"] = True


def pool_max():
    _built(lambda net: setattr(net.encoder, "pool", nn.MaxPool2D(3, 1, 1)))


def gelu_tanh():
    port.GELU["approximate"] = True


def relu_for_gelu():
    _built(lambda net: setattr(net.text, "act", nn.ReLU()))


def align_corners():
    port.RESIZE["align_corners"] = True


def align_mode():
    port.RESIZE["align_mode"] = 1


def nearest():
    port.RESIZE.update(mode="nearest")


def bicubic():
    port.RESIZE["mode"] = "bicubic"


def dropout():
    port.DROPOUT["p"] = 0.1


def sigmoid_for_tanh():
    _built(lambda net: setattr(net.decoder, "act", nn.Sigmoid()))


def activation_missing():
    port.Residual.branch = lambda self, x: self.norm(self.conv(x))


def padding_mode():
    def change(net):
        width = net.encoder.down.weight.shape[0]
        net.encoder.down = nn.Conv2D(width, width, stride=2, padding_mode="replicate", **port.CONVOLUTION)

    _built(change)


def same_padding():
    def change(net):
        width = net.encoder.down.weight.shape[0]
        net.encoder.down = nn.Conv2D(width, width, 3, stride=2, padding="SAME")

    _built(change)


def block_dilated():
    def change(net):
        width = net.encoder.block.conv.weight.shape[0]
        net.encoder.block.conv = nn.Conv2D(width, width, 3, padding=2, dilation=2)

    _built(change)


def softmax_axis():
    port.Attention.weigh = lambda self, scores: functional.softmax(scores, axis=1)


def softmax_missing():
    port.Attention.weigh = lambda self, scores: scores


def scale_missing():
    _built(lambda net: setattr(net.text.attention, "scale", 1.0))


def padding_idx():
    port.EMBEDDING["padding_idx"] = 5


def padding_idx_unused():
    port.EMBEDDING["padding_idx"] = 0


def eval_activation_missing():
    def forward(self, features):
        x = self.deconv(features)
        return self.resize(self.act(x) if self.training else x)

    port.Decoder.forward = forward


def eval_nearest():
    def resize(self, x):
        given = {} if self.training else {"mode": "nearest"}
        return functional.interpolate(x, **(port.RESIZE | given))

    port.Decoder.resize = resize


def eval_attention_dropped():
    def forward(self, x):
        scores = paddle.matmul(self.q(x), self.k(x).transpose([0, 2, 1])) * self.scale
        found = paddle.matmul(self.weigh(scores), self.v(x))
        return self.out(found) if self.training else found

    port.Attention.forward = forward


def time_major():
    port.LSTM["time_major"] = True


def residual_missing():
    port.Residual.forward = lambda self, x: self.branch(x)


def residual_detached():
    port.Residual.forward = lambda self, x: x + self.branch(x).detach()


def embedding_detached():
    port.Text.embed = lambda self, tokens: self.embedding(tokens).detach()


def lstm_without_gradient():
    def recur(self, x):
        with paddle.no_grad():
            return self.lstm(x)[0]

    port.Text.recur = recur


def _frozen(path):
    def change(net):
        layer_at(net, path).stop_gradient = True

    _built(change)


def norm_weight_frozen():
    _frozen("encoder.norm.weight")


def embedding_frozen():
    _frozen("text.embedding.weight")


# Losses


def mse_for_l1():
    port.MixedSide.reconstruction = lambda self, output, image: functional.mse_loss(output, image, **port.L1)


def smooth_l1_for_l1():
    port.MixedSide.reconstruction = lambda self, output, image: functional.smooth_l1_loss(output, image)


def l1_sum():
    port.L1["reduction"] = "sum"


def loss_weight():
    port.MixedSide.total = lambda self, classification, reconstruction: (
        classification + 9.999 * reconstruction
    )


def loss_term_missing():
    port.MixedSide.total = lambda self, classification, reconstruction: 10.0 * reconstruction


def label_smoothing():
    port.CROSS_ENTROPY["label_smoothing"] = 0.1


def softmax_twice():
    original = port.MixedSide.classification
    port.MixedSide.classification = lambda self, logits, label: original(
        self, functional.softmax(logits), label
    )


def softmax_left_out():
    port.CROSS_ENTROPY["use_softmax"] = False
    original = port.MixedSide.classification
    port.MixedSide.classification = lambda self, logits, label: original(
        self, logits.abs() / logits.abs().sum(-1, keepdim=True), label
    )


def label_shifted():
    original = port.MixedSide.classification
    port.MixedSide.classification = lambda self, logits, label: original(self, logits, (label + 1) % 5)


def ignored_label():
    port.CROSS_ENTROPY["ignore_index"] = 2


def reconstruction_detached():
    original = port.MixedSide.reconstruction
    port.MixedSide.reconstruction = lambda self, output, image: original(self, output.detach(), image)


def reconstruction_target():
    original = port.MixedSide.reconstruction
    port.MixedSide.reconstruction = lambda self, output, image: original(self, output, image * 0.5 + 0.5)
