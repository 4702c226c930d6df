"""Small right ports that differ only in what the frameworks do differently, in Paddle.

``known_torch.py`` is this file in Torch, line by line.
"""

import paddle
from paddle import nn
from paddle.nn import functional


class Known(nn.Layer):
    def __init__(self, size, outputs):
        super().__init__()
        self.fc = nn.Linear(size, size)
        self.act = nn.LeakyReLU(0.2)
        self.head = nn.Linear(size, outputs)

    def forward(self, x):
        return self.head(self.act(self.fc(x)))


class MaxKnown(Known):
    def forward(self, x):
        return self.head(self.act(self.fc(x))).max(1)


class KnownSide:
    def __init__(self, options):
        self.case = options["case"]
        outputs = 1 if self.case == "bce" else options["size"]
        self.networks = {"net": (MaxKnown if self.case == "ties" else Known)(options["size"], outputs)}
        self.optimizers = {"main": self.optimizer(self.networks["net"].parameters())}

    def optimizer(self, parameters):
        if self.case == "rmsprop":
            return paddle.optimizer.RMSProp(1e-2, rho=0.99, epsilon=1e-8, parameters=parameters)
        return paddle.optimizer.Adam(1e-2, parameters=parameters)

    def loss(self, output, batch):
        if self.case == "bce":
            return functional.binary_cross_entropy_with_logits(output, batch["truth"])
        if self.case == "ignored":
            return functional.cross_entropy(output, batch["label"])
        return functional.mse_loss(output, batch["values"] if self.case == "ties" else batch["target"])

    def training_step(self, iteration, batch, observer):
        loss = self.loss(self.networks["net"](batch["x"]), batch)
        observer.loss("loss", loss)
        loss.backward()
        observer.gradients()
        self.optimizers["main"].step()
        self.optimizers["main"].clear_grad(set_to_zero=False)
