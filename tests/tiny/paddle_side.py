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


class Stepping(Tiny):
    """A side whose loss is its subclass's business."""

    def training_step(self, iteration, batch, observer):
        loss = self.loss(iteration, batch)
        observer.loss("loss", loss)
        loss.backward()
        observer.gradients()
        self.optimizers["adam"].step()
        self.optimizers["adam"].clear_grad(set_to_zero=False)


class Skipping(Stepping):
    """BatchNorm used in every second iteration only."""

    def loss(self, iteration, batch):
        net = self.networks["net"]
        output = net(batch["tokens"]) if iteration % 2 == 0 else net.head(net.embedding(batch["tokens"]))
        return ((output - batch["target"]) ** 2).mean()


class Mixed(Stepping):
    """BatchNorm called with batches of different sizes, in the first iteration only."""

    def loss(self, iteration, batch):
        output = self.networks["net"](batch["tokens"])
        loss = ((output - batch["target"]) ** 2).mean()
        if iteration == 0:
            loss = loss + (self.networks["net"](batch["tokens"][:5]) ** 2).mean()
        return loss


class Vanishing(Stepping):
    """A loss that is zero but for rounding."""

    def loss(self, iteration, batch):
        output = self.networks["net"](batch["tokens"])
        return (output.sum() - (output * 3.0).sum() / 3.0) * 1e-3


class WithMomentum(Tiny):
    """Another optimizer, the same on both sides."""

    def optimizer(self, net):
        return paddle.optimizer.Momentum(1e-2, 0.9, parameters=net.parameters())


class Twice(Tiny):
    """A training step that reports a loss twice."""

    def training_step(self, iteration, batch, observer):
        super().training_step(iteration, batch, observer)
        loss = ((self.networks["net"](batch["tokens"]) - batch["target"]) ** 2).mean()
        observer.loss("loss", loss)


class TwoBackwards(Tiny):
    """Two losses, each with a backward of its own, in one step."""

    factor = 1.0

    def training_step(self, iteration, batch, observer):
        output = self.networks["net"](batch["tokens"])
        for name, power in (("first", 2), ("second", 4)):
            loss = ((output - batch["target"]) ** power).mean() * (self.factor if name == "first" else 1.0)
            observer.loss(name, loss)
            loss.backward(retain_graph=True)
            observer.gradients()
        self.optimizers["adam"].step()
        self.optimizers["adam"].clear_grad(set_to_zero=False)


class WrongFirst(TwoBackwards):
    """The first of two losses, halved."""

    factor = 0.5


class MovedWhileIdle(Skipping):
    """A running variance that moves in the iterations in which nothing may move it."""

    def training_step(self, iteration, batch, observer):
        super().training_step(iteration, batch, observer)
        if iteration % 2:
            variance = self.networks["net"].norm._variance
            variance.set_value(variance * 1.01)


class OtherNetworks(Tiny):
    """A network under another name."""

    def __init__(self, options):
        super().__init__(options)
        self.networks = {"net": self.networks["net"], "spare": Net()}
        self.networks.pop("spare")
        self.networks["stray"] = nn.Sequential()


class NoisyStdout(Tiny):
    """Words on standard output that the parent must not take for messages."""

    def __init__(self, options):
        print("not a message")
        super().__init__(options)
