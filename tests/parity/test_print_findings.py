"""Findings on a terminal."""

import io

from rich.console import Console

from parity.finding import Finding
from parity.report import print_findings


def test_what_does_not_fit_goes_on_below_its_beginning():
    console = Console(file=io.StringIO(), width=50)
    found = Finding(
        "defect", "forward", "net.act", "", "it is [bold]other[/]", evidence="word " * 20, change="set it"
    )
    print_findings(console, [found])
    assert console.file.getvalue().splitlines() == [
        "1. it is [bold]other[/] (forward)",
        "   because:  word word word word word word word",
        "             word word word word word word word",
        "             word word word word word word",
        "   change:   set it",
        "",
    ]
