"""Options that several commands share, and how the pair's own are collected.

An option that is not given stays None and leaves the default to the pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

__all__ = [
    "Arch",
    "ArchOption",
    "BatchOption",
    "ClearGrad",
    "ClearGradOption",
    "DType",
    "DTypeOption",
    "ExtraLayersOption",
    "Format",
    "FormatOption",
    "Framework",
    "Init",
    "InitOption",
    "JsonOption",
    "Mode",
    "ModeOption",
    "OracleOption",
    "OutputOption",
    "PairOption",
    "PortDeviceOption",
    "PortEnvOption",
    "PortPythonOption",
    "PortThreadsOption",
    "QuietOption",
    "RateOption",
    "ReferenceDeviceOption",
    "ReferenceEnvOption",
    "ReferencePythonOption",
    "ReferenceThreadsOption",
    "ReportOption",
    "SeedAOption",
    "SeedBOption",
    "SeedOption",
    "SetOption",
    "ThreadsOption",
    "UpdateIntervalOption",
    "WeightsOption",
    "WidthOption",
    "given_options",
]


class Mode(str, Enum):
    """Mode of the networks."""

    eval = "eval"
    train = "train"


class DType(str, Enum):
    """Precision of a run."""

    float32 = "float32"
    float64 = "float64"


class ClearGrad(str, Enum):
    """Whose gradients are cleared after a step."""

    stepping = "stepping"
    all = "all"


class Arch(str, Enum):
    """Which losses count."""

    discogan = "discogan"
    recongan = "recongan"
    gan = "gan"


class Init(str, Enum):
    """How initial weights are drawn."""

    normal = "normal"
    torch_default = "torch-default"


class Framework(str, Enum):
    """Whose names and layouts a checkpoint has."""

    torch = "torch"
    paddle = "paddle"

    @property
    def literal(self) -> Literal["torch", "paddle"]:
        """The value, typed."""
        return "torch" if self is Framework.torch else "paddle"


class Format(str, Enum):
    """Renderings of a result (parity/report/writers.py)."""

    html = "html"
    json = "json"
    markdown = "markdown"
    junit = "junit"
    csv = "csv"
    reprod_log = "reprod-log"


_MODEL = "The pair's own options"
_OUTPUT = "Output"
_PLACE = "Where the sides run"

PairOption = Annotated[
    str,
    typer.Option(
        "--pair",
        help="The pair: a folder with a pair.toml, a registered name, or MODULE:NAME or FILE.py:NAME.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Set an option of the pair, as in --set batch=8; may be repeated.",
        rich_help_panel="The pair's own options",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="CKPT",
        help="Start from this checkpoint, Torch's or Paddle's, not the seeded weights.",
    ),
]
DTypeOption = Annotated[DType, typer.Option("--dtype", help="Precision of the run.")]
OracleOption = Annotated[
    bool,
    typer.Option(
        "--oracle/--no-oracle", help="Repeat a float32 run in float64, which tells a mistake from rounding."
    ),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=1, help="Threads of each side; more can change the last digits.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else.", rich_help_panel=_OUTPUT)
]
ReportOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write a report: .html, .md, .xml (JUnit), .csv, .json or .log; may be repeated.",
        rich_help_panel=_OUTPUT,
    ),
]
OutputOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write what the suffix tells: .html, .md, .xml (JUnit), .csv, .json, or .log (reprod_log's "
        "lines); - is standard output; may be repeated.",
        rich_help_panel=_OUTPUT,
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", help="What to write where a suffix does not tell.", rich_help_panel=_OUTPUT),
]
QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="Print errors only; the exit code tells the result.", rich_help_panel=_OUTPUT
    ),
]

ReferencePythonOption = Annotated[
    str | None,
    typer.Option(
        "--reference-python",
        metavar="COMMAND",
        help="Interpreter of the reference's environment, which needs its framework and numpy only.",
        rich_help_panel=_PLACE,
    ),
]
ReferenceDeviceOption = Annotated[
    str | None,
    typer.Option(
        "--reference-device",
        metavar="DEVICE",
        help="Device of the reference, as in cuda:0 or gpu:0.  [default: cpu]",
        rich_help_panel=_PLACE,
    ),
]
ReferenceEnvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reference-env",
        metavar="NAME=VALUE",
        help="Environment variable of the reference; may be repeated.",
        rich_help_panel=_PLACE,
    ),
]
ReferenceThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--reference-threads",
        min=1,
        help="Threads of the reference, if other than --threads.",
        rich_help_panel=_PLACE,
    ),
]
ReferenceProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--reference-processes",
        min=1,
        help="Processes in which the reference trains, each on its part of the batch.  [default: 1]",
        rich_help_panel=_PLACE,
    ),
]
PortPythonOption = Annotated[
    str | None,
    typer.Option(
        "--port-python",
        metavar="COMMAND",
        help="Interpreter of the port's environment, which needs its framework and numpy only.",
        rich_help_panel=_PLACE,
    ),
]
PortDeviceOption = Annotated[
    str | None,
    typer.Option(
        "--port-device",
        metavar="DEVICE",
        help="Device of the port, as in cuda:0 or gpu:0.  [default: cpu]",
        rich_help_panel=_PLACE,
    ),
]
PortEnvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--port-env",
        metavar="NAME=VALUE",
        help="Environment variable of the port; may be repeated.",
        rich_help_panel=_PLACE,
    ),
]
PortThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--port-threads",
        min=1,
        help="Threads of the port, if other than --threads.",
        rich_help_panel=_PLACE,
    ),
]
PortProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--port-processes",
        min=1,
        help="Processes in which the port trains, each on its part of the batch.  [default: 1]",
        rich_help_panel=_PLACE,
    ),
]

ModeOption = Annotated[
    Mode | None, typer.Option("--mode", help="Mode of the networks.  [default: eval]", rich_help_panel=_MODEL)
]
ClearGradOption = Annotated[
    ClearGrad | None,
    typer.Option(
        "--clear-grad",
        help="Whose gradients are cleared after a step.  [default: stepping]",
        rich_help_panel=_MODEL,
    ),
]
ArchOption = Annotated[
    Arch | None,
    typer.Option("--arch", help="Which losses count.  [default: discogan]", rich_help_panel=_MODEL),
]
UpdateIntervalOption = Annotated[
    int | None,
    typer.Option(
        "--update-interval",
        help="The discriminators step at every N-th iteration.  [default: 2]",
        rich_help_panel=_MODEL,
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        "--rate", help="Weight of the reconstruction loss.  [default: 0.01]", rich_help_panel=_MODEL
    ),
]
BatchOption = Annotated[
    int | None, typer.Option("--batch", help="Images per domain.  [default: 4]", rich_help_panel=_MODEL)
]
SeedAOption = Annotated[
    int | None,
    typer.Option("--seed-a", help="Seed of the images of domain A.  [default: 42]", rich_help_panel=_MODEL),
]
SeedBOption = Annotated[
    int | None,
    typer.Option("--seed-b", help="Seed of the images of domain B.  [default: 100]", rich_help_panel=_MODEL),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", help="Seed of the initial weights.  [default: 0]", rich_help_panel=_MODEL),
]
InitOption = Annotated[
    Init | None,
    typer.Option("--init", help="How initial weights are drawn.  [default: normal]", rich_help_panel=_MODEL),
]
WidthOption = Annotated[
    int | None,
    typer.Option(
        "--width", help="Channels of the first hidden layer.  [default: 64]", rich_help_panel=_MODEL
    ),
]
ExtraLayersOption = Annotated[
    bool | None,
    typer.Option(
        "--extra-layers/--no-extra-layers",
        help="Generators with the 100-channel bottleneck.  [default: without]",
        rich_help_panel=_MODEL,
    ),
]


def given_options(settings: Sequence[str] | None, **values: Any) -> dict[str, Any]:
    """Keep the options that were given, enums as their values, and those of ``--set``.

    Raises `UsageError` for a setting that is not NAME=VALUE.
    """
    from parity.options import read_settings

    given = {
        name: value.value if isinstance(value, Enum) else value
        for name, value in values.items()
        if value is not None
    }
    return {**given, **read_settings(settings or ())}
