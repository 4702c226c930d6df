"""A checkpoint with all that can be done to its tensors, and where results go."""

import pytest

from tests.converter import plans


@pytest.fixture
def source(tmp_path):
    return plans.write_source(tmp_path / "source.pth", plans.arrays())


@pytest.fixture
def plan(source):
    return plans.everything(source)


@pytest.fixture
def out(tmp_path):
    """A folder for results only."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder
