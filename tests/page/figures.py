"""Numbers as the page writes them."""

import math

import pytest

__all__ = ["same_figure"]


def same_figure(text, value):
    """Assert that a text is a number of JSON's (which has nan and inf as strings) to the digits that it shows."""
    value = float(value)
    if text == "-":
        assert math.isnan(value)
    elif math.isnan(value) or math.isinf(value) or value == 0.0:
        assert text == str(value) or (value == 0.0 and float(text) == 0.0)
    else:
        digits = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
        assert float(text) == pytest.approx(value, abs=0.5 * digits * (1 + 1e-9), rel=0)
