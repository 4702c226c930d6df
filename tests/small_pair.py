"""A pair in a folder, and copies of it with a mistake in the port."""

import shutil
from pathlib import Path

FOLDER = Path(__file__).parent / "small"


def wrong_pair(folder: Path, right: str, wrong: str) -> Path:
    """Copy the pair with a piece of the port's text replaced."""
    shutil.copytree(FOLDER, folder)
    port = folder / "paddle_side.py"
    text = port.read_text()
    assert text.count(right) == 1
    port.write_text(text.replace(right, wrong))
    return folder
