"""Right ports in forms that a careless judge takes for wrong ones, in Paddle; ``right_torch.py`` mirrors it."""

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional


class Net(nn.Layer):
    def __init__(self, case, size):
        super().__init__()
        self.case = case
        self.fc = nn.Linear(size, size)
        self.head = nn.Linear(size, size)
        if case == "tied":
            self.head.weight = self.fc.weight
        if case == "frozen":
            for parameter in self.fc.parameters():
                parameter.stop_gradient = True

    def forward(self, x):
        x = paddle.tanh(self.fc(x))
        if self.case == "masked":
            x = functional.softmax(paddle.where(x > 0.5, paddle.full_like(x, -np.inf), x), axis=1)
        if self.case == "axes":
            x = functional.softmax(x) + x.mean([-2, -1])
        return self.head(x)


class Side:
    def __init__(self, options):
        self.case = case = options["case"]
        self.networks = {"net": Net(case, options["size"]), "other": nn.Linear(options["size"], 1)}
        self.optimizers = {"main": self.optimizer(self.networks["net"])}
        np.random.seed(0)

    def optimizer(self, net):
        if self.case == "rmsprop":
            return paddle.optimizer.RMSProp(1e-2, rho=0.99, epsilon=1e-8, parameters=net.parameters())
        if self.case == "groups":
            groups = [
                {"params": net.fc.parameters()},
                {"params": net.head.parameters(), "learning_rate": 0.1},
            ]
            return paddle.optimizer.Adam(1e-2, parameters=groups)
        return paddle.optimizer.Adam(1e-2, parameters=net.parameters())

    def training_step(self, iteration, batch, observer):
        x = batch["x"]
        if self.case == "random":
            x = x * paddle.to_tensor((np.random.rand(*x.shape) < 0.5).astype(np.float64)).astype(x.dtype)
        loss = functional.mse_loss(self.networks["net"](x), batch["target"])
        observer.loss("loss", loss)
        loss.backward()
        if self.case == "clipped":
            nn.utils.clip_grad_value_(self.networks["net"].parameters(), clip_value=0.01)
        observer.gradients()
        self.optimizers["main"].step()
        self.optimizers["main"].clear_grad(set_to_zero=False)
