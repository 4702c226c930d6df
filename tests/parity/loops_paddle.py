"""Training loops of many kinds, in Paddle; ``loops_torch.py`` mirrors them. Loops in ``mistakes`` are wrong."""

import paddle
from paddle import nn
from paddle.nn import functional

SIZE = 6


class Square(paddle.autograd.PyLayer):
    factor = 2.0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensor()
        return Square.factor * x * gradient


class Net(nn.Layer):
    def __init__(self, loop, wrong):
        super().__init__()
        self.loop, self.wrong = loop, wrong
        self.fc = nn.Linear(SIZE, SIZE)
        self.head = nn.Linear(SIZE, SIZE)
        if loop in ("turns", "frozen_norm"):
            self.norm = nn.BatchNorm1D(SIZE, momentum=0.1 if loop == "turns" and wrong else 0.9)
        if loop == "tied" and not wrong:
            self.head.weight = self.fc.weight
        if loop == "recurrent":
            self.gru = nn.GRU(SIZE, SIZE, time_major=wrong)

    def forward(self, x):
        x = self.fc(x)
        if self.loop in ("turns", "frozen_norm"):
            x = self.norm(x)
        x = paddle.tanh(x)
        if self.loop == "repeated":
            x = paddle.tanh(self.fc(x if self.wrong else paddle.tanh(self.fc(x))))
        if self.loop == "recurrent":
            x = self.gru(x.unsqueeze(1).expand([-1, 3, -1]))[0][:, -1]
        if self.loop == "custom":
            Square.factor = 1.0 if self.wrong else 2.0
            x = Square.apply(x)
        return self.head(x)


P = paddle.optimizer
OPTIMIZERS = {
    "sgd": lambda p, wrong: P.Momentum(0.1, 0.9, p, use_nesterov=not wrong, weight_decay=1e-3),
    "adagrad": lambda p, wrong: P.Adagrad(
        1e-2, epsilon=1e-6, parameters=p, weight_decay=1e-2, initial_accumulator_value=0.1 if wrong else 0.0
    ),
    "adadelta": lambda p, wrong: P.Adadelta(
        0.1, epsilon=1e-6, rho=0.9 if wrong else 0.95, parameters=p, weight_decay=1e-2
    ),
    "nadam": lambda p, wrong: P.NAdam(
        1e-2, momentum_decay=0.04 if wrong else 0.004, parameters=p, weight_decay=1e-2
    ),
    "radam": lambda p, wrong: P.RAdam(1e-2, beta2=0.99 if wrong else 0.999, parameters=p, weight_decay=1e-2),
    "rprop": lambda p, wrong: P.Rprop(
        1e-2, learning_rate_range=(1e-6, 50), parameters=p, etas=(0.4 if wrong else 0.5, 1.2)
    ),
    "adamax": lambda p, wrong: P.Adamax(
        1e-2, epsilon=1e-6 if wrong else 1e-8, parameters=p, weight_decay=1e-2
    ),
    "rmsprop": lambda p, wrong: P.RMSProp(1e-2, rho=0.9 if wrong else 0.95, epsilon=1e-6, parameters=p),
}
CLIPS = {
    "clip_global": lambda wrong: nn.ClipGradByGlobalNorm(1.0 if wrong else 0.1),
    "clip_each": lambda wrong: nn.ClipGradByGlobalNorm(0.1) if wrong else nn.ClipGradByNorm(0.1),
    "clip_value": lambda wrong: nn.ClipGradByValue(0.02 if wrong else 0.01),
}
SCHEDULES = {
    "schedule_step": lambda wrong: P.lr.StepDecay(1e-2, 1, gamma=0.1 if wrong else 0.5),
    "schedule_cosine": lambda wrong: P.lr.CosineAnnealingDecay(1e-2, T_max=2 if wrong else 4),
    "schedule_lambda": lambda wrong: P.lr.LambdaDecay(1e-2, lambda step: 1.0 / (1 + step)),
}


def penalty(net):
    return sum((each**2).sum() for each in net.parameters())


class Side:
    def __init__(self, options):
        self.loops, self.mistakes = options["loops"], options["mistakes"]
        self.networks = {loop: Net(loop, loop in self.mistakes) for loop in self.loops}
        if "two_nets" in self.loops:
            self.networks["second"] = nn.Linear(SIZE, SIZE)
        self.optimizers, self.schedulers = {}, {}
        for loop in self.loops:
            self.optimizers[loop] = self.optimizer(loop, self.networks[loop].parameters())
        if "two_nets" in self.loops:
            self.optimizers["second"] = P.SGD(0.1, parameters=self.networks["second"].parameters())

    def optimizer(self, loop, parameters):
        wrong = loop in self.mistakes
        if loop in OPTIMIZERS:
            return OPTIMIZERS[loop](parameters, wrong)
        rate = 1e-2
        if loop in SCHEDULES:
            rate = self.schedulers[loop] = SCHEDULES[loop](wrong)
        clip = CLIPS[loop](wrong) if loop in CLIPS else None
        return P.Adam(rate, parameters=parameters, grad_clip=clip)

    def training_step(self, iteration, batch, observer):
        losses = {loop: self.losses(loop, loop in self.mistakes, iteration, batch) for loop in self.loops}
        for loop, found in losses.items():
            for number, loss in enumerate(found):
                observer.loss(f"{loop}_{number}", loss)
                loss.backward()
        observer.gradients()
        for loop in self.loops:
            wrong = loop in self.mistakes
            if loop == "clip_function":
                nn.utils.clip_grad_norm_(self.networks[loop].parameters(), 0.2 if wrong else 0.1)
            if loop != "accumulated" or iteration % 2:
                self.optimizers[loop].step()
                self.optimizers[loop].clear_grad(set_to_zero=False)
            if loop in self.schedulers and not (wrong and loop == "schedule_lambda"):
                self.schedulers[loop].step()
        if "two_nets" in self.loops:
            self.optimizers["second"].step()
            self.optimizers["second"].clear_grad(set_to_zero=False)

    def losses(self, loop, wrong, iteration, batch):
        net, x, target = self.networks[loop], batch["x"], batch["target"]
        if loop == "turns":
            net.train() if iteration % 2 == 0 else net.eval()
        if loop == "frozen_norm" and not wrong:
            net.norm.eval()
        if loop == "autocast":
            with paddle.amp.auto_cast(enable=not wrong, level="O1", dtype="bfloat16"):
                return [functional.mse_loss(net(x).astype(x.dtype), target)]
        if loop == "accumulated":
            half, shares = len(x) // 2, 1 if wrong else 2
            return [
                functional.mse_loss(net(x[at : at + half]), target[at : at + half]) / shares
                for at in (0, half)
            ]
        out = net(x)
        if loop == "two_nets":
            given = out if wrong else out.detach()
            second = functional.mse_loss(self.networks["second"](given), target)
            return [functional.l1_loss(out, target) + second]
        if loop == "penalty":
            return [functional.mse_loss(out, target) + (0.1 if wrong else 0.01) * penalty(net)]
        return [functional.mse_loss(out, target)]
