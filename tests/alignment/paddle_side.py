"""Ports of the same models, written by someone else. Imported by Paddle's process only."""

import paddle
from paddle import nn
from paddle.nn import functional

HEADS, SIZE = 2, 8


def attended(q, k, v):
    q, k, v = (x.reshape([*x.shape[:2], HEADS, SIZE // HEADS]).transpose([0, 2, 1, 3]) for x in (q, k, v))
    y = functional.softmax(q @ k.transpose([0, 1, 3, 2]) / 2.0, -1) @ v
    return y.transpose([0, 2, 1, 3]).flatten(2)


class Fused(nn.Layer):
    """One Linear where the reference has three."""

    def __init__(self):
        super().__init__()
        self.final = nn.Linear(SIZE, SIZE)
        self.qkv = nn.Linear(SIZE, 3 * SIZE)

    def forward(self, x):
        return self.final(attended(*self.qkv(x).chunk(3, -1)))


class Apart(nn.Layer):
    """Three Linears where the reference has one; they are called in another order than they count."""

    def __init__(self):
        super().__init__()
        self.c = nn.Linear(SIZE, SIZE)
        self.a = nn.Linear(SIZE, SIZE)
        self.b = nn.Linear(SIZE, SIZE)
        self.final = nn.Linear(SIZE, SIZE)

    def forward(self, x):
        v, q, k = self.b(x), self.c(x), self.a(x)
        return self.final(attended(q, k, v))


class Layer(nn.Layer):
    """The feed-forward part first, as far as definitions go."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv1D(2 * SIZE, SIZE, 1)
        self.up = nn.Linear(SIZE, 2 * SIZE)
        self.own = nn.MultiHeadAttention(SIZE, HEADS)
        self.second = nn.Sequential(nn.LayerNorm(SIZE), Apart())
        self.first = nn.Sequential(nn.LayerNorm(SIZE), Fused())

    def forward(self, x):
        x = x + self.first(x)
        x = x + self.second(x)
        x = x + self.own(x)
        return x + self.down(functional.gelu(self.up(x)).transpose([0, 2, 1])).transpose([0, 2, 1])


class Tagger(nn.Layer):
    def __init__(self):
        super().__init__()
        self.mix = self.create_parameter([SIZE, SIZE])
        self.rnn = nn.GRU(SIZE, SIZE)
        self.one, self.two = nn.Linear(SIZE, 3), nn.Linear(SIZE, 3)
        self.encoder = nn.LayerDict({"stages": nn.LayerList([Layer(), Layer()])})
        self.normal = nn.BatchNorm1D(SIZE)
        self.places = self.create_parameter([6, SIZE])
        self.flags = nn.Linear(4, SIZE, bias_attr=False)
        self.words = nn.Embedding(11, SIZE)
        self.out = nn.Linear(SIZE, 11, bias_attr=False)

    def forward(self, tokens, marks):
        x = self.flags(marks) + self.words(tokens) + self.places
        for stage in self.encoder["stages"]:
            x = stage(x)
        x = paddle.matmul(self.rnn(x)[0], self.mix, transpose_y=True)
        x = self.normal(x.transpose([0, 2, 1])).transpose([0, 2, 1])
        return {"logits": self.out(functional.hardsigmoid(x)), "gates": self.one(x) + self.two(x)}


class Small(nn.Layer):
    def __init__(self, bias=False, unused=False, padding=1, factor=1.0, epsilon=1e-5):
        super().__init__()
        self.factor = factor
        self.last = nn.Linear(6 * 16, 4)
        self.body = nn.Sequential(
            nn.Sequential(nn.Conv2D(3, 6, 3, padding=1), nn.ReLU()),
            nn.Conv2D(6, 6, 3, padding=padding, bias_attr=None if bias else False),
            nn.BatchNorm2D(6, epsilon=epsilon),
        )
        if unused:
            self.extra = nn.Linear(3, 3)

    def forward(self, x):
        x = functional.adaptive_avg_pool2d(functional.relu(self.body(x)), 4)
        return self.last(x.flatten(1)) * self.factor


def biased():
    return Small(bias=True)


def unused():
    return Small(unused=True)


def scaled():
    """Wrong by so little that no float32 run would show it."""
    return Small(factor=1.0 + 1e-8)


def epsilon():
    return Small(epsilon=1.01e-5)


def unpadded():
    return Small(padding=0)


class Norm(nn.Layer):
    def __init__(self):
        super().__init__()
        self.weight = self.create_parameter([SIZE])

    def forward(self, x):
        return self.weight * x * paddle.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class Standard(nn.Layer):
    def __init__(self):
        super().__init__()
        self.shift, self.scale = self.create_parameter([SIZE]), self.create_parameter([SIZE])

    def forward(self, x):
        x = x - x.mean(-1, keepdim=True)
        return self.scale * x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() + self.shift


class Own(nn.Layer):
    def __init__(self):
        super().__init__()
        self.last = Standard()
        self.steps = nn.LayerList([nn.Sequential(Norm(), nn.Linear(SIZE, SIZE)) for _ in range(2)])
        self.weights = nn.ParameterList([self.create_parameter([1, SIZE]) for _ in range(2)])

    def forward(self, x):
        for step, weight in zip(self.steps, self.weights, strict=True):
            x = x + weight * step(x)
        return self.last(x)
