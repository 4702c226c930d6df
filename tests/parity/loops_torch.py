"""Training loops of many kinds, in Torch; ``loops_paddle.py`` mirrors them, and makes the mistakes."""

import torch
from torch import nn
from torch.nn import functional

SIZE = 6


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2.0 * x * gradient


class Net(nn.Module):
    def __init__(self, loop):
        super().__init__()
        self.loop = loop
        self.fc = nn.Linear(SIZE, SIZE)
        self.head = nn.Linear(SIZE, SIZE)
        if loop in ("turns", "frozen_norm"):
            self.norm = nn.BatchNorm1d(SIZE)
        if loop == "tied":
            self.head.weight = self.fc.weight
        if loop == "recurrent":
            self.gru = nn.GRU(SIZE, SIZE, batch_first=True)

    def forward(self, x):
        x = self.fc(x)
        if self.loop in ("turns", "frozen_norm"):
            x = self.norm(x)
        x = torch.tanh(x)
        if self.loop == "repeated":
            x = torch.tanh(self.fc(torch.tanh(self.fc(x))))
        if self.loop == "recurrent":
            x = self.gru(x.unsqueeze(1).expand(-1, 3, -1))[0][:, -1]
        if self.loop == "custom":
            x = Square.apply(x)
        return self.head(x)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2, eps=1e-6, weight_decay=1e-2),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.1, rho=0.95, eps=1e-6, weight_decay=1e-2),
    "nadam": lambda p: torch.optim.NAdam(p, lr=1e-2, weight_decay=1e-2),
    "radam": lambda p: torch.optim.RAdam(p, lr=1e-2, weight_decay=1e-2),
    "rprop": lambda p: torch.optim.Rprop(p, lr=1e-2),
    "adamax": lambda p: torch.optim.Adamax(p, lr=1e-2, weight_decay=1e-2),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-2, alpha=0.95, eps=1e-6),
}
CLIPS = {
    "clip_global": lambda net: nn.utils.clip_grad_norm_(net.parameters(), 0.1),
    "clip_function": lambda net: nn.utils.clip_grad_norm_(net.parameters(), max_norm=0.1),
    "clip_each": lambda net: [nn.utils.clip_grad_norm_(each, 0.1) for each in net.parameters()],
    "clip_value": lambda net: nn.utils.clip_grad_value_(net.parameters(), 0.01),
}
SCHEDULES = {
    "schedule_step": lambda o: torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.5),
    "schedule_cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=4),
    "schedule_lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 1.0 / (1 + step)),
}


def penalty(net):
    return sum((each**2).sum() for each in net.parameters())


class Side:
    def __init__(self, options):
        self.loops = options["loops"]
        self.networks = {loop: Net(loop) for loop in self.loops}
        if "two_nets" in self.loops:
            self.networks["second"] = nn.Linear(SIZE, SIZE)
        self.optimizers, self.schedulers = {}, {}
        for loop in self.loops:
            make = OPTIMIZERS.get(loop, lambda p: torch.optim.Adam(p, lr=1e-2))
            self.optimizers[loop] = make(self.networks[loop].parameters())
            if loop in SCHEDULES:
                self.schedulers[loop] = SCHEDULES[loop](self.optimizers[loop])
        if "two_nets" in self.loops:
            self.optimizers["second"] = torch.optim.SGD(self.networks["second"].parameters(), lr=0.1)

    def training_step(self, iteration, batch, observer):
        losses = {loop: self.losses(loop, iteration, batch) for loop in self.loops}
        for loop, found in losses.items():
            for number, loss in enumerate(found):
                observer.loss(f"{loop}_{number}", loss)
                loss.backward()
        observer.gradients()
        for loop in self.loops:
            if loop in CLIPS:
                CLIPS[loop](self.networks[loop])
            if loop != "accumulated" or iteration % 2:
                self.optimizers[loop].step()
                self.optimizers[loop].zero_grad()
            if loop in self.schedulers:
                self.schedulers[loop].step()
        if "two_nets" in self.loops:
            self.optimizers["second"].step()
            self.optimizers["second"].zero_grad()

    def losses(self, loop, iteration, batch):
        net, x, target = self.networks[loop], batch["x"], batch["target"]
        if loop == "turns":
            net.train(iteration % 2 == 0)
        if loop == "frozen_norm":
            net.norm.eval()
        if loop == "autocast":
            with torch.autocast("cpu", torch.bfloat16):
                return [functional.mse_loss(net(x).to(x.dtype), target)]
        if loop == "accumulated":
            half = len(x) // 2
            return [
                functional.mse_loss(net(x[at : at + half]), target[at : at + half]) / 2 for at in (0, half)
            ]
        out = net(x)
        if loop == "two_nets":
            second = functional.mse_loss(self.networks["second"](out.detach()), target)
            return [functional.l1_loss(out, target) + second]
        if loop == "penalty":
            return [functional.mse_loss(out, target) + 0.01 * penalty(net)]
        return [functional.mse_loss(out, target)]
