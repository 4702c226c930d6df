"""Results of any size without a run: seeded figures that look like those of a check."""

import numpy as np

from parity import Loss, Result
from parity.call_agreement import Agreement, CallAgreement
from parity.finding import Finding
from parity.matched_tensor import MatchedTensor
from parity.rows import Rows

_KINDS = (("gradient", ""), ("parameter", ""), ("optimizer", "/exp_avg"), ("buffer", ""))
_OF_LAYER = (("Conv2D", "conv.weight"), ("BatchNorm2D", "norm.weight"), ("Linear", "fc.weight"))
_LIMIT = 5e-11
_U = 2.0**-53


def synthetic_result(
    tensors=40, iters=5, *, dtypes=("float32", "float64"), seed=0, wrong=(), culprit="", name="{}"
):
    """Return a result of ``tensors`` tensors in every one of ``iters`` iterations and of ``dtypes``.

    Tensors come in fours (gradient, parameter, optimizer state, buffer) in layers of three parameters. Those
    whose numbers are in ``wrong`` differ in every run, and ``culprit`` is where a finding says so. ``name``
    is what is made of every tensor's name, as in ``"<script>{}"``.
    """
    draw = np.random.default_rng(seed)
    names = [name.format(_name(number // len(_KINDS))) for number in range(tensors)]
    of_tensor = np.arange(tensors)
    parts, losses = [], []
    for dtype in dtypes:
        noise = _U if dtype == "float64" else _U * 2**29
        for iteration in range(iters):
            scale = 10.0 ** draw.uniform(-4, 2, tensors)
            error = noise * 10.0 ** draw.uniform(0, 2, tensors) * (1 + iteration)
            error[list(wrong)] = 10.0 ** draw.uniform(-4, -1, len(wrong))
            parts.append((dtype, iteration, of_tensor, scale, error))
            value = 2.0 * np.exp(-iteration / 20) + 0.01 * draw.standard_normal()
            off = 1e-3 if wrong else 4 * noise
            losses.append(Loss(dtype, iteration, "loss", value, value * (1 + off * draw.standard_normal())))
    result = Result(
        "synthetic",
        {"mode": "train", "batch": 4},
        {
            "reference": {"framework": "torch", "version": "2.0", "threads": 1},
            "port": {"framework": "paddle", "version": "3.0", "threads": 1},
        },
        tuple(dtypes),
        iters,
        _rows(parts, names, wrong),
        losses,
        terms=576,
        command="dgtool check-bp --pair synthetic",
    )
    result.layers = [*_layers(names, culprit, draw)]
    result.matched = [*_matched(names)]
    if culprit:
        what = f"{culprit} has another epsilon"
        because = "the reference is set to epsilon 1e-5, the port to 1e-3"
        result.findings = [
            Finding("defect", "forward", culprit, "epsilon", what, because, "set epsilon to 1e-5")
        ]
    return result


def _name(tensor):
    return f"layers.{tensor // len(_OF_LAYER)}.{_OF_LAYER[tensor % len(_OF_LAYER)][1]}"


def _rows(parts, names, wrong):
    slots = [_KINDS[number % len(_KINDS)] for number in range(len(names))]
    words = {
        "dtype": list(dict.fromkeys(dtype for dtype, *_ in parts)),
        "quantity": [quantity for quantity, _ in _KINDS],
        "network": ["net"],
        "name": list(dict.fromkeys(each + slot for each, (_, slot) in zip(names, slots, strict=True))),
        "status": ["rounding", "differs", "unjudged"],
        "note": [""],
    }
    name_places = {word: place for place, word in enumerate(words["name"])}
    count = len(names)
    own = np.array([name_places[each + slot] for each, (_, slot) in zip(names, slots, strict=True)])
    differs = np.zeros(count, bool)
    differs[list(wrong)] = True
    made = []
    for dtype, iteration, tensor, scale, error in parts:
        judged = dtype == words["dtype"][-1]
        size = 64 * (1 + tensor % 7)
        made.append(
            {
                "dtype": np.full(count, words["dtype"].index(dtype)),
                "quantity": tensor % len(_KINDS),
                "network": np.zeros(count, int),
                "name": own,
                "status": np.where(differs, 1, 0) if judged else np.full(count, 2),
                "note": np.zeros(count, int),
                "iteration": np.full(count, iteration),
                "error": error,
                "limit": np.full(count, _LIMIT if judged else np.inf),
                "floor": error / 10,
                "count": size,
                "reference_norm": scale,
                "port_norm": scale * (1 + error),
                "difference_norm": scale * error,
                "max_abs": scale * error / 4,
                "mean_abs": scale * error / 16,
                "cosine": 1 - error**2,
                "sign_agreement": np.ones(count),
                "reference_nonfinite": np.zeros(count, int),
                "port_nonfinite": np.zeros(count, int),
                "worst_reference": scale / 8,
                "worst_port": scale / 8 + scale * error / 4,
                "worst_index": np.full(count, 2),
                "ulps": np.full(count, 4),
                "indices": np.stack([tensor % 7, size // 2], 1),
                "numbers": np.stack(
                    [size // 2, size // 4, size // 8, size - size // 2 - size // 4 - size // 8], 1
                ),
            }
        )
    columns = {key: np.concatenate([part[key] for part in made]) for key in made[0]}
    lists = {"worst_index": columns.pop("indices").ravel(), "ulps": columns.pop("numbers").ravel()}
    return Rows.of_columns(words, columns, lists)


def _layers(names, culprit, draw):
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in names))[:300]
    bad = False
    for layer in layers:
        where = f"net.{layer}"
        inside = Agreement(0.02 if bad else float(draw.uniform(1, 9)) * _U, _LIMIT, not bad)
        alone = where == culprit
        bad = bad or alone
        outside = Agreement(0.02 if bad else float(draw.uniform(1, 9)) * _U, _LIMIT, not bad)
        signal = Agreement(float(draw.uniform(1, 9)) * _U, _LIMIT, True)
        own = Agreement(0.02 if alone else float(draw.uniform(1, 9)) * _U, _LIMIT, not alone)
        yield CallAgreement(where, "conv2d", "port.py:7", inside, outside, signal, own, alone)


def _matched(names):
    for tensor, name in enumerate(dict.fromkeys(names)):
        layer = _OF_LAYER[tensor % len(_OF_LAYER)][0]
        rule, shapes = ("transpose", ((8, 4), (4, 8))) if layer == "Linear" else ("copy", ((8, 4), (8, 4)))
        yield MatchedTensor("net", name, name, "parameter", layer, rule, *shapes, "float32")
