"""Following a document: its commands are run, and its files written, as a reader does it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
COPIED = ("DG_torch", "DG_paddle", "examples")
"""What the documents' commands find in the folder where they are run."""
PACKAGES = ("converter", "parity", "dgtool", "weights", "DG_pair", *COPIED)
"""What makes the folder a clone, whose files may be changed."""
BREAK = "Break it on purpose"
"""The README's section that changes the port, and is followed in a clone."""
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.DOTALL | re.MULTILINE)


def read(document: str) -> str:
    return (ROOT / document).read_text()


def section(text: str, heading: str) -> str:
    """Return a part of a document, from its heading to the next one like it."""
    (found,) = re.findall(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return found


def steps(text: str) -> list[tuple[str, str, str]]:
    """Return what a reader does, in order: commands with what they end by saying, and files to write.

    A command may go on in the next line, after a backslash. A block with a title is that file's text.
    """
    found = []
    for kind, title, block in BLOCK.findall(text):
        if title:
            found.append(("write", title, block))
        elif kind == "console":
            for part in re.split(r"^(?=\$ )", block, flags=re.MULTILINE):
                command = re.match(r"\$ ((?:.*\\\n)*.*)", part)
                verdict = re.search(r"^verdict: \w+", part, re.MULTILINE)
                if command:
                    found.append(("run", command[1], verdict[0] if verdict else ""))
    return found


def lay_out(folder: Path, names: Iterable[str]) -> None:
    """Copy folders of the repository, without what was compiled or generated in them."""
    for name in names:
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pth", "*.safetensors")
        )


def environment(packages: Path) -> dict[str, str]:
    """Return a shell's variables, with the command line on its path and its packages taken from a folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(packages)}


def follow(text: str, folder: Path, packages: Path = ROOT) -> None:
    """Do what a reader does, every step from the same folder, in one shell, for some set variables.

    A command ends with 1 if the verdict that is shown is a defect, and with 0 otherwise, and says that verdict.
    """
    (folder / "weights").mkdir(exist_ok=True)
    script = []
    for number, (kind, what, said) in enumerate(steps(text)):
        if kind == "write":
            (folder / f"text-{number}").write_text(said)
            script.append(f"cd '{folder}' && cp 'text-{number}' '{what}'")
            continue
        expected = 1 if said == "verdict: defect" else 0
        script.append(f"cd '{folder}' && {{ {what}\n}} > said; code=$?; cat said")
        script.append(f"test $code = {expected} || {{ echo FAILED: '{number}'; exit 1; }}")
        if said:
            script.append(f"grep -q '^{said}' said || {{ echo 'NOT SAID: {said}'; exit 1; }}")
    finished = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env=environment(packages),
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]
