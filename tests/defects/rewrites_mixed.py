"""Other ways to write the second net's Paddle side that compute the same: no mistakes (see `planting`)."""

import paddle
from paddle import nn

from tests.defects import mixed_paddle as port


def queries_scaled():
    def forward(self, x):
        scores = paddle.matmul(self.q(x) * self.scale, self.k(x).transpose([0, 2, 1]))
        return self.out(paddle.matmul(self.weigh(scores), self.v(x)))

    port.Attention.forward = forward


def mean_by_sum():
    def forward(self, tokens):
        x = self.recur(self.embed(tokens))
        x = self.norm(x + self.attention(x))
        return self.dropout(self.act(self.fc(x))).sum(1) / tokens.shape[1]

    port.Text.forward = forward


def softmax_layer():
    softmax = nn.Softmax(-1)
    port.Attention.weigh = lambda self, scores: softmax(scores)


def resize_layer():
    upsample = nn.Upsample(**port.RESIZE)
    port.Decoder.resize = lambda self, x: upsample(x)


def loss_layer():
    loss = nn.CrossEntropyLoss(**port.CROSS_ENTROPY)
    port.MixedSide.classification = lambda self, logits, label: loss(logits, label)


def labels_as_column():
    original = port.MixedSide.classification
    port.MixedSide.classification = lambda self, logits, label: original(self, logits, label.unsqueeze(-1))


def outputs_swapped():
    original = port.Mixed.forward
    port.Mixed.forward = lambda self, *given: original(self, *given)[::-1]

    def training_step(self, iteration, batch, observer):
        image, tokens, label = self.prepare(batch)
        output, logits = self.networks["net"](image, tokens)
        losses = self.classification(logits, label), self.reconstruction(output, image)
        total = self.total(*losses)
        for name, loss in zip(("classification", "reconstruction", "total"), (*losses, total), strict=True):
            observer.loss(name, loss)
        self.backward(total)
        observer.gradients()
        self.step(iteration)
        self.clear()
        self.advance(iteration)

    port.MixedSide.training_step = training_step
