"""Optimizer state between ``torch.optim`` and Paddle's ``.pdopt``: training goes on on the other side.

Both keep the same numbers beside a parameter, under other names (`families`) and laid out as the
parameter is: a slot takes the operations of its weight. What differs is how a parameter is found:

- Torch: by its number in the optimizer (torch/optim/optimizer.py, ``state_dict``).
  ``{"state": {3: {"step": [], "exp_avg": [...]}}, "param_groups": [{"lr": ..., "params": [3]}]}``
- Paddle: by the name that the running process gave it (paddle/optimizer/optimizer.py,
  ``_add_accumulator``). ``{"linear_0.w_0_moment1_0": [...], "linear_0.w_0_beta1_pow_acc_0": [1]}``

So a conversion needs the parameters in the optimizer's order (`ParameterGroup`), and Paddle's names.
Without those a ``.pdopt`` has structured names in their place, for `load_optimizer_into`.

Measured with Torch 2.13.0 and Paddle 3.3.1: an optimizer that has not stepped has no state; slots
have the parameter's dtype (in Paddle float32 for 16-bit ones), and so have Paddle's beta powers;
Torch's ``step`` has the default dtype; learning rate, betas and the like are in Torch's file only.
"""

from converter.optimizer.families import ParameterGroup, groups_in
from converter.optimizer.live import groups_of, load_optimizer_into, names_of
from converter.optimizer.plan import optimizer_plan

__all__ = [
    "ParameterGroup",
    "groups_in",
    "groups_of",
    "load_optimizer_into",
    "names_of",
    "optimizer_plan",
]
