"""The tiny pair in Paddle, right and wrong."""

import paddle
from paddle import nn


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 6)
        self.fc = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1D(6)
        self.head = nn.Linear(6, 6)
        self.idle = nn.Linear(6, 6)

    def embed(self, tokens):
        return self.embedding(tokens)

    def forward(self, tokens):
        return self.head(nn.functional.relu(self.norm(self.fc(self.embed(tokens)))))


class Tiny:
    net_class = Net

    def __init__(self, options):
        net = self.net_class()
        self.networks = {"net": net}
        self.optimizers = {"adam": self.optimizer(net)}

    def optimizer(self, net):
        return paddle.optimizer.Adam(1e-2, parameters=net.parameters())

    def training_step(self, iteration, batch, observer):
        loss = ((self.networks["net"](batch["tokens"]) - batch["target"]) ** 2).mean()
        observer.loss("loss", loss)
        loss.backward()
        observer.gradients()
        self.optimizers["adam"].step()
        self.optimizers["adam"].clear_grad(set_to_zero=False)


class DetachedNet(Net):
    def embed(self, tokens):
        return self.embedding(tokens).detach()


class Detached(Tiny):
    """The embedding cut off from the gradient."""

    net_class = DetachedNet


class UsedIdleNet(Net):
    def forward(self, tokens):
        return super().forward(tokens) + 0.0 * self.idle(self.embed(tokens))


class UsedIdle(Tiny):
    """A layer that the reference never uses, used."""

    net_class = UsedIdleNet


class UntransposedNet(Net):
    def set_state_dict(self, state):
        return super().set_state_dict({**state, "fc.weight": state["fc.weight"].T})


class Untransposed(Tiny):
    """A square Linear loaded in Torch's layout, which nothing but its values shows."""

    net_class = UntransposedNet


class MomentumSGD(Tiny):
    """Another optimizer."""

    def optimizer(self, net):
        return paddle.optimizer.Momentum(1e-2, parameters=net.parameters())


class Poisoned(Tiny):
    """A bias that becomes NaN after the first step."""

    def training_step(self, iteration, batch, observer):
        super().training_step(iteration, batch, observer)
        bias = self.networks["net"].head.bias
        with paddle.no_grad():
            bias.set_value(bias * float("nan"))
