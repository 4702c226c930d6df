"""``python -m dgtool``."""

from dgtool.cli import main

main()
