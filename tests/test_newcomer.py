"""A newcomer's walk: the README's section that breaks the port, in a fresh clone, as it is written there."""

import json

import pytest

from parity.result import RESULT_FILE
from tests.documents import BREAK, PACKAGES, follow, lay_out, read, section

pytestmark = pytest.mark.slow


def result(folder):
    return json.loads((folder / RESULT_FILE).read_text())


def test_from_the_readme_to_a_verdict_on_a_broken_port(tmp_path):
    walk = section(read("README.md"), BREAK)
    lay_out(tmp_path, PACKAGES)
    follow(walk, tmp_path, packages=tmp_path)

    broken = result(tmp_path / "broken")
    assert (broken["result"], broken["verdict"]) == ("mismatch", "defect")
    (finding,) = [each for each in broken["findings"] if each["verdict"] == "defect"]
    assert (finding["where"], finding["cause"]) == ("generator_B.main.1", "negative_slope")
    assert len(finding["places"]) == 16  # every LeakyReLU of four networks, and nothing else
    path, _, line = finding["line"].rpartition(":")
    assert path == str(tmp_path / "DG_paddle" / "model.py")
    assert (
        "nn.LeakyReLU(0.2)" in (tmp_path / "DG_paddle" / "model.py").read_text().splitlines()[int(line) - 1]
    )
    for shown in (finding["what"], finding["change"], f"at:       DG_paddle/model.py:{line}"):
        assert shown in walk

    mended = result(tmp_path / "mended")
    assert (mended["result"], mended["verdict"], mended["findings"]) == ("pass", "rounding", [])
