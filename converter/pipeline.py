"""The whole conversion: open, plan, write, verify."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from converter.checkpoint import Checkpoint, Framework
from converter.errors import UsageError
from converter.execute import write_checkpoint
from converter.formats import format_of, open_checkpoint
from converter.formats._atomic import atomic_path
from converter.plan import Assumption, LayerSpec, Plan, make_plan
from converter.verify import verify

__all__ = ["check_target", "convert", "framework_of", "plan_for"]


def framework_of(checkpoint: Checkpoint, stated: Framework | None = None) -> Framework:
    """Tell whose names a checkpoint has: what the file says, or what the user states.

    Raises `UsageError` if the two contradict each other or neither says anything.
    """
    told = checkpoint.framework
    if told and stated and told != stated:
        raise UsageError(
            f"{checkpoint.file} is a {told.title()} checkpoint, not a {stated.title()} one (--from)"
        )
    framework = told or stated
    if framework is None:
        raise UsageError(
            f"{checkpoint.file} does not say whose names it has: add --from torch or --from paddle"
        )
    return framework


def plan_for(
    checkpoint: Checkpoint,
    layers: Mapping[str, LayerSpec],
    *,
    source_framework: Framework | None = None,
    assumptions: tuple[Assumption, ...] = (),
) -> Plan:
    """Plan the conversion of an open checkpoint to the other framework."""
    return make_plan(
        checkpoint.tensors,
        framework_of(checkpoint, source_framework),
        layers,
        assumptions=assumptions,
        scalars=checkpoint.scalars,
    )


def check_target(checkpoint: Checkpoint, plan: Plan, target: Path, *, force: bool = False) -> None:
    """Raise `UsageError` for a target that cannot be meant, or that exists when ``force`` is not given."""
    framework = format_of(target).FRAMEWORK
    if framework not in (None, plan.target_framework):
        raise UsageError(
            f"{target}: a {target.suffix} file holds {framework.title()}'s names and layouts, "
            f"and these would be {plan.target_framework.title()}'s; choose another suffix"
        )
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is not a folder; create it first")
    if target.exists() and target.samefile(checkpoint.file):
        raise UsageError(f"{target} is the source itself")
    if target.exists() and not force:
        raise UsageError(f"{target} exists; add --force to replace it")


def convert(
    source: Path,
    target: Path,
    layers: Mapping[str, LayerSpec],
    *,
    source_framework: Framework | None = None,
    assumptions: tuple[Assumption, ...] = (),
    force: bool = False,
    progress: Callable[[str], None] = lambda name: None,
) -> Plan:
    """Convert ``source`` to the other framework's ``target`` and prove it by reading it back.

    Returns the plan that was carried out. Raises `UsageError` for paths and formats that cannot be
    meant, `converter.FormatError` for a bad source, `converter.PlanError` for tensors that no rule
    covers and `converter.VerifyError` if the written file is not as planned; ``target`` then is what
    it was before, or absent.
    """
    checkpoint = open_checkpoint(source)
    plan = plan_for(checkpoint, layers, source_framework=source_framework, assumptions=assumptions)
    check_target(checkpoint, plan, target, force=force)
    with atomic_path(target) as partial:
        write_checkpoint(checkpoint, plan, partial, progress=progress)
        verify(checkpoint, plan, partial)
    return plan
