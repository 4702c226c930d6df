"""The README's picture of a terminal, ``docs/pictures/check-bp.svg``, from a real run: ``make screenshots``.

The run is the one that the README's section on a broken port shows, in a clone of its own.
"""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.documents import BREAK, PACKAGES, environment, lay_out, read, section, steps

PICTURE = Path(__file__).parent / "pictures" / "check-bp.svg"
COLUMNS = 112
BACKGROUND, FOREGROUND = (24, 27, 33), (222, 226, 232)
RED, GREEN, YELLOW = (255, 123, 114), (126, 231, 135), (242, 204, 96)
BLUE, MAGENTA, CYAN = (121, 192, 255), (210, 168, 255), (118, 227, 234)
THEME = TerminalTheme(
    BACKGROUND, FOREGROUND, [BACKGROUND, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, FOREGROUND]
)
# Rich's own template has its letters from a host; here they are the reader's.
TEMPLATE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 24 {width} {height}" role="img" \
aria-label="dgtool check-bp on a port with a mistake">
<style>
.{unique_id}-matrix {{ font: {char_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; \
line-height: {line_height}px }}
{styles}
</style>
<defs>
{lines}</defs>
<rect fill="#181b21" y="24" width="{width}" height="{height}" rx="8"/>
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Run the section's commands up to the first verdict, and keep what they print."""
    commands = []
    for _, command, verdict in steps(section(read("README.md"), BREAK)):
        commands.append(command)
        if verdict:
            break
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(folder, PACKAGES)
        variables = environment(folder) | {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1"}
        for command in commands:
            console.print(Text.assemble(("$ ", "green"), (command, "bold")))
            done = subprocess.run(
                command, shell=True, cwd=folder, env=variables, capture_output=True, text=True
            )
            for line in done.stdout.splitlines():
                console.print(Text.from_ansi(line))
    console.print()  # Rich clips the last line at a place that it does not define
    svg = console.export_svg(theme=THEME, code_format=TEMPLATE, unique_id="dgtool")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE))


if __name__ == "__main__":
    main()
