"""References: small models in Torch. Imported by Torch's process only."""

import torch
from torch import nn
from torch.nn import functional

HEADS, SIZE = 2, 8


def attended(q, k, v):
    """[N, T, SIZE] each."""
    q, k, v = (x.unflatten(-1, (HEADS, SIZE // HEADS)).transpose(1, 2) for x in (q, k, v))
    return (torch.softmax(q @ k.transpose(-1, -2) / 2.0, -1) @ v).transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Attention with three Linears and Torch's own, and a feed-forward part of convolutions over one pixel."""

    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(SIZE)
        self.query = nn.Linear(SIZE, SIZE)
        self.key = nn.Linear(SIZE, SIZE)
        self.value = nn.Linear(SIZE, SIZE)
        self.out = nn.Linear(SIZE, SIZE)
        self.norm2 = nn.LayerNorm(SIZE)
        self.packed = nn.Linear(SIZE, 3 * SIZE)
        self.out2 = nn.Linear(SIZE, SIZE)
        self.own = nn.MultiheadAttention(SIZE, HEADS, batch_first=True)
        self.wide = nn.Conv1d(SIZE, 2 * SIZE, 1)
        self.narrow = nn.Linear(2 * SIZE, SIZE)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.out(attended(self.query(y), self.key(y), self.value(y)))
        x = x + self.out2(attended(*self.packed(self.norm2(x)).chunk(3, -1)))
        x = x + self.own(x, x, x)[0]
        return x + self.narrow(functional.gelu(self.wide(x.transpose(1, 2)).transpose(1, 2)))


class Tagger(nn.Module):
    """Token ids ``[N, T]`` and marks ``[N, T, 4]`` to logits ``[N, T, 5]``, and the gates' sum."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, SIZE)
        self.position = nn.Parameter(torch.zeros(1, 6, SIZE), requires_grad=False)
        self.register_buffer("ids", torch.arange(6))
        self.marks = nn.Linear(4, SIZE, bias=False)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.recurrent = nn.GRU(SIZE, SIZE, batch_first=True)
        self.mixing = nn.Parameter(torch.zeros(SIZE, SIZE))
        self.norm = nn.BatchNorm1d(SIZE)
        self.drop = nn.Dropout(0.5)
        self.gates = nn.ModuleDict({"left": nn.Linear(SIZE, 3), "right": nn.Linear(SIZE, 3)})
        self.head = nn.Linear(SIZE, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.activation = nn.Hardsigmoid()

    def forward(self, tokens, marks):
        x = self.embedding(tokens) + self.position + self.marks(marks)
        for block in self.blocks:
            x = block(x)
        x = self.recurrent(x)[0] @ self.mixing
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        gates = self.gates["left"](x) + self.gates["right"](x)
        return {"logits": self.head(self.drop(self.activation(x))), "gates": gates}


class Small(nn.Module):
    """Images ``[N, 3, 8, 8]`` to ``[N, 4]``."""

    def __init__(self, bias=False, unused=False, pool=2):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=bias)
        self.bn = nn.BatchNorm2d(6)
        self.pool = nn.AvgPool2d(pool)
        self.fc = nn.Linear(6 * 16, 4)
        if unused:
            self.spare = nn.Linear(3, 3)

    def forward(self, x):
        x = torch.relu(self.bn(self.conv2(torch.relu(self.conv1(x)))))
        return self.fc(self.pool(x).flatten(1))


def biased():
    return Small(bias=True)


def unused():
    return Small(unused=True)


def several():
    return {"one": Small(), "two": Small()}


class Scale(nn.Module):
    """A norm of one's own."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(SIZE))

    def forward(self, x):
        return self.gain * x / x.pow(2).mean(-1, keepdim=True).add(1e-6).sqrt()


class Turned(nn.Module):
    """A Linear of one's own, with the weight the other way round."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(SIZE, SIZE))
        self.bias = nn.Parameter(torch.zeros(SIZE))

    def forward(self, x):
        return x @ self.weight + self.bias


class Own(nn.Module):
    """``[N, SIZE]`` to ``[N, SIZE]``."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = Scale(), Scale(), nn.LayerNorm(SIZE)
        self.first, self.second = Turned(), Turned()
        self.gammas = nn.ParameterList([torch.ones(SIZE), torch.ones(SIZE)])

    def forward(self, x):
        x = x + self.gammas[0] * self.first(self.a(x))
        return self.c(x + self.gammas[1] * self.second(self.b(x)))
