"""A second net and its training step, in Paddle: what DiscoGAN lacks, in small.

``mixed_torch.py`` is this file in Torch, line by line. Everything is a method or a table of its own,
so that a mistake can be planted in one of them.
"""

import paddle
from paddle import nn
from paddle.nn import functional

CONVOLUTION = {"kernel_size": 3, "padding": 1}
BATCH_NORM = {"epsilon": 1e-5, "momentum": 0.9}
LEAKY = {"negative_slope": 0.2}
POOL = {"kernel_size": 3, "stride": 1, "padding": 1, "exclusive": False}
DECONVOLUTION = {"kernel_size": 4, "stride": 2, "padding": 1}
RESIZE = {"scale_factor": 2, "mode": "bilinear", "align_corners": False}
EMBEDDING = {}
LSTM = {"time_major": False}
LAYER_NORM = {"epsilon": 1e-5}
GELU = {"approximate": False}
DROPOUT = {"p": 0.0}
CROSS_ENTROPY = {"reduction": "mean", "label_smoothing": 0.0, "ignore_index": 255}
L1 = {"reduction": "mean"}
ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 1e-4}
SGD = {"momentum": 0.9, "weight_decay": 1e-4}
SCHEDULE = {"step_size": 10, "gamma": 0.5}
CLASSES = 5


class Residual(nn.Layer):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2D(width, width, **CONVOLUTION)
        self.norm = nn.BatchNorm2D(width, **BATCH_NORM)
        self.act = nn.ReLU()

    def branch(self, x):
        return self.act(self.norm(self.conv(x)))

    def forward(self, x):
        return x + self.branch(x)


class Encoder(nn.Layer):
    def __init__(self, width):
        super().__init__()
        self.stem = nn.Conv2D(3, width, stride=2, **CONVOLUTION)
        self.norm = nn.BatchNorm2D(width, **BATCH_NORM)
        self.act = nn.LeakyReLU(**LEAKY)
        self.block = Residual(width)
        self.down = nn.Conv2D(width, width, stride=2, **CONVOLUTION)
        self.pool = nn.AvgPool2D(**POOL)

    def forward(self, image):
        return self.pool(self.down(self.block(self.act(self.norm(self.stem(image))))))


class Decoder(nn.Layer):
    def __init__(self, width):
        super().__init__()
        self.deconv = nn.Conv2DTranspose(width, 3, **DECONVOLUTION)
        self.act = nn.Tanh()

    def resize(self, x):
        return functional.interpolate(x, **RESIZE)

    def forward(self, features):
        return self.resize(self.act(self.deconv(features)))


class Attention(nn.Layer):
    def __init__(self, size):
        super().__init__()
        self.scale = size**-0.5
        self.q = nn.Linear(size, size)
        self.k = nn.Linear(size, size)
        self.v = nn.Linear(size, size)
        self.out = nn.Linear(size, size)

    def weigh(self, scores):
        return functional.softmax(scores, axis=-1)

    def forward(self, x):
        scores = paddle.matmul(self.q(x), self.k(x).transpose([0, 2, 1])) * self.scale
        return self.out(paddle.matmul(self.weigh(scores), self.v(x)))


class Text(nn.Layer):
    def __init__(self, size):
        super().__init__()
        self.embedding = nn.Embedding(size, size, **EMBEDDING)
        self.lstm = nn.LSTM(size, size, **LSTM)
        self.attention = Attention(size)
        self.norm = nn.LayerNorm(size, **LAYER_NORM)
        self.fc = nn.Linear(size, size)
        self.act = nn.GELU(**GELU)
        self.dropout = nn.Dropout(**DROPOUT)

    def embed(self, tokens):
        return self.embedding(tokens)

    def recur(self, x):
        return self.lstm(x)[0]

    def forward(self, tokens):
        x = self.recur(self.embed(tokens))
        x = self.norm(x + self.attention(x))
        return self.dropout(self.act(self.fc(x))).mean(1)


class Mixed(nn.Layer):
    def __init__(self, width):
        super().__init__()
        self.encoder = Encoder(width)
        self.decoder = Decoder(width)
        self.text = Text(2 * width)
        self.fuse = nn.Linear(3 * width, 2 * width)
        self.head = nn.Linear(2 * width, CLASSES)

    def forward(self, image, tokens):
        features = self.encoder(image)
        joined = paddle.concat([features.mean((2, 3)), self.text(tokens)], 1)
        return self.head(paddle.tanh(self.fuse(joined))), self.decoder(features)


class MixedSide:
    def __init__(self, options):
        self.given = options
        self.networks = {"net": Mixed(options["width"])}
        for network in self.networks.values():
            network.train() if options["mode"] == "train" else network.eval()
            network.text.lstm.train()  # in eval mode, Paddle's has no backward on a CPU
        self.schedulers = {"main": self.scheduler()}
        self.optimizers = {"main": self.optimizer(self.parameters())}

    def parameters(self):
        return list(self.networks["net"].parameters())

    def optimizer(self, parameters):
        kind = self.given["optimizer"]
        if kind == "adam":
            return paddle.optimizer.Adam(self.schedulers["main"], parameters=parameters, **ADAM)
        if kind == "adamw":
            return paddle.optimizer.AdamW(self.schedulers["main"], parameters=parameters, **ADAM)
        return paddle.optimizer.Momentum(self.schedulers["main"], parameters=parameters, **SGD)

    def scheduler(self):
        return paddle.optimizer.lr.StepDecay(1e-3, **SCHEDULE)

    def classification(self, logits, label):
        return functional.cross_entropy(logits, label, **CROSS_ENTROPY)

    def reconstruction(self, output, image):
        return functional.l1_loss(output, image, **L1)

    def total(self, classification, reconstruction):
        return classification + 10.0 * reconstruction

    def prepare(self, batch):
        return batch["image"], batch["tokens"], batch["label"]

    def backward(self, loss):
        loss.backward()

    def step(self, iteration):
        self.optimizers["main"].step()

    def clear(self):
        self.optimizers["main"].clear_grad(set_to_zero=False)

    def advance(self, iteration):
        self.schedulers["main"].step()

    def training_step(self, iteration, batch, observer):
        image, tokens, label = self.prepare(batch)
        logits, output = self.networks["net"](image, tokens)
        classification = self.classification(logits, label)
        reconstruction = self.reconstruction(output, image)
        loss = self.total(classification, reconstruction)
        observer.loss("classification", classification)
        observer.loss("reconstruction", reconstruction)
        observer.loss("total", loss)
        self.backward(loss)
        observer.gradients()
        self.step(iteration)
        self.clear()
        self.advance(iteration)
