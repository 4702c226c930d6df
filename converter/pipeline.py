"""The whole conversion: open, select, plan, write, verify."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from converter.checkpoint import Checkpoint, Framework, view
from converter.errors import PlanError, Problem, UsageError
from converter.execute import CastStatistics, write
from converter.formats import format_of, is_sharded, open_checkpoint
from converter.formats.paddle import reinterpret
from converter.knowledge import Assumption, Knowledge, LayerSpec, describe
from converter.messages import say
from converter.operations import same_bits
from converter.parts import Parted, write_part
from converter.planner import Request, make_plan, ownership_of
from converter.publish import publish, write_shards
from converter.ranks import Part
from converter.rule_file import NO_RULES, RuleFile
from converter.selection import hints, select
from converter.steps import Plan
from converter.stores.url import Location, Url, locate, same_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "Conversion",
    "Source",
    "SourceOptions",
    "check_target",
    "convert",
    "finish",
    "framework_of",
    "open_source",
    "plan",
]


@dataclass(frozen=True)
class Source:
    """An opened source, the part of it that is meant, and what is known of it."""

    checkpoint: Checkpoint
    framework: Framework
    request: Request
    said: tuple[str, ...] = ()
    """What the user chose, for the plan."""
    hints: tuple[str, ...] = ()
    """What may help if the plan fails."""

    def plan(self) -> Plan:
        """Plan the conversion. Raises `PlanError`."""
        try:
            made = make_plan(
                self.checkpoint.tensors, self.framework, self.request, scalars=self.checkpoint.scalars
            )
        except PlanError as error:
            raise PlanError(error.problems, (*error.hints, *self.hints)) from None
        return replace(made, assumptions=(*self.said, *made.assumptions))

    def only_in_target(self) -> Callable[[str], bool]:
        """Return the test for tensors that a result made elsewhere may have and no source gives."""
        target: Framework = "paddle" if self.framework == "torch" else "torch"
        ownership = ownership_of(self.checkpoint.tensors, self.framework, self.request)
        return lambda name: ownership.is_one_sided(name, target)


@dataclass(frozen=True)
class Conversion:
    """What was done: the plan, the files written, and what casts lost."""

    plan: Plan
    files: tuple[Location, ...]
    casts: Mapping[str, CastStatistics]
    """By target name, for every tensor whose numbers were converted by this run."""
    reused: int = 0
    """How many shards of an earlier, interrupted run were kept."""


class SourceOptions(TypedDict, total=False):
    """What can be said of a source; every entry is optional."""

    model: str | None
    """``module:callable`` or ``file.py:callable``, built in a process of its own to tell its layers."""
    model_python: str | None
    """The interpreter of the model's environment."""
    rules: RuleFile | Path | None
    assumptions: Sequence[Assumption]
    source_framework: Framework | None
    """Whose names the source has, where the file does not say."""
    key: str | None
    """The dict that is meant, in a training checkpoint: its key path, with dots."""
    strip_prefix: str | None
    allow_missing: Sequence[str]
    """Globs of names that the model has and the source need not have."""
    allow_unexpected: Sequence[str]
    """Globs of names in the source that may be left out."""
    dtype: np.dtype[np.generic] | None
    """Convert every floating-point tensor to this."""
    uint16: Literal["bfloat16", "integer"] | None
    """What uint16 is in a ``.pdparams``."""


def framework_of(checkpoint: Checkpoint, stated: Framework | None = None) -> Framework:
    """Tell whose names a checkpoint has: what the file says, or what the user states.

    Raises `UsageError` if the two contradict each other or neither says anything.
    """
    told = checkpoint.framework
    if told and stated and told != stated:
        raise UsageError(
            say(
                "{file} is a {actual} checkpoint, not a {stated} one (--from)",
                file=checkpoint.file,
                actual=told.title(),
                stated=stated.title(),
            )
        )
    framework = told or stated
    if framework is None:
        raise UsageError(
            say(
                "{file} does not say whose names it has: add --from torch or --from paddle",
                file=checkpoint.file,
            )
        )
    return framework


def open_source(
    source: Location | str,
    layers: Mapping[str, LayerSpec] | Knowledge | None = None,
    **options: Unpack[SourceOptions],
) -> Source:
    """Open a checkpoint and gather what is known of it.

    ``layers`` is what is known of the model: a table of Torch layers by path, or `Knowledge`; or the
    option ``model`` tells the same. Raises `UsageError` and `converter.FormatError`.
    """
    key, prefix, model = options.get("key"), options.get("strip_prefix"), options.get("model")
    rules = options.get("rules")
    opened = open_checkpoint(source)
    checkpoint, selected = select(opened, key, prefix)
    checkpoint = _settle_uint16(checkpoint, options.get("uint16"))
    knowledge = layers if isinstance(layers, Knowledge) or layers is None else Knowledge.of_layers(layers)
    if model is not None:
        if knowledge is not None:
            raise UsageError(say("give either a model or a table of layers, not both"))
        knowledge = describe(model, python=options.get("model_python"))
    request = Request(
        knowledge,
        RuleFile.load(rules) if isinstance(rules, Path) else rules or NO_RULES,
        tuple(options.get("assumptions", ())),
        tuple(options.get("allow_missing", ())),
        tuple(options.get("allow_unexpected", ())),
        options.get("dtype"),
    )
    return Source(
        checkpoint,
        framework_of(checkpoint, options.get("source_framework")),
        request,
        (selected,) if selected else (),
        tuple(hints(opened, key, prefix)),
    )


def _settle_uint16(checkpoint: Checkpoint, stated: str | None) -> Checkpoint:
    """Tell Paddle's bfloat16, which its files store as uint16, from integers.

    Raises `PlanError` naming the tensors if nothing tells.
    """
    doubtful = [info.name for info in checkpoint.tensors.values() if info.dtype == np.uint16]
    stores_so = format_of(checkpoint.file).FRAMEWORK == "paddle"
    if not stores_so or not doubtful or stated == "integer":
        return checkpoint
    # What this package writes to .pdparams has no integers of that kind: see `formats.paddle`.
    if stated == "bfloat16" or "dgtool" in checkpoint.metadata:
        return reinterpret(checkpoint, doubtful)
    reason = say("Paddle stores bfloat16 as uint16; say which it is, --uint16 bfloat16 or --uint16 integer")
    raise PlanError([Problem(name, reason) for name in doubtful])


def plan(
    source: Location | str,
    layers: Mapping[str, LayerSpec] | Knowledge | None = None,
    **options: Unpack[SourceOptions],
) -> Plan:
    """Plan a conversion from the file's index alone; the arguments are those of `open_source`."""
    return open_source(source, layers, **options).plan()


def check_target(checkpoint: Checkpoint, plan: Plan, target: Location, *, force: bool = False) -> None:
    """Raise `UsageError` for a target that cannot be meant, or that exists when ``force`` is not given."""
    framework = format_of(target).FRAMEWORK
    if framework not in (None, plan.target_framework):
        raise UsageError(
            say(
                "{target}: a {suffix} file holds {framework}'s names and layouts, and these would be "
                "{target_framework}'s; choose another suffix",
                target=target,
                suffix=target.suffix,
                framework=framework.title(),
                target_framework=plan.target_framework.title(),
            )
        )
    if isinstance(target, Path) and not target.parent.is_dir():
        raise UsageError(say("{parent} is not a folder; create it first", parent=target.parent))
    sources = checkpoint.files or (checkpoint.file,)
    if any(same_file(target, file) for file in sources):
        raise UsageError(say("{target} is the source itself", target=target))
    if isinstance(target, Path) and target.is_dir():
        raise UsageError(say("{target} is a folder; name a file", target=target))
    if target.exists() and not force:
        raise UsageError(say("{target} exists; add --force to replace it", target=target))


def _check_ties(opened: Source) -> None:
    """Raise `PlanError` where names that the model has for one tensor have different ones in the file."""
    knowledge, tensors = opened.request.knowledge, opened.checkpoint.tensors
    if knowledge is None or knowledge.framework != opened.framework:
        return
    problems = []
    for names in knowledge.ties:
        present = [tensors[name] for name in names if name in tensors]
        problems += [
            Problem(
                other.name,
                say("is not the same as '{name}', with which the model shares it", name=present[0].name),
            )
            for other in present[1:]
            if not same_bits(view(present[0]), view(other))
        ]
    if problems:
        raise PlanError(problems)


def convert(
    source: Location | str | Source,
    target: Location | str,
    layers: Mapping[str, LayerSpec] | Knowledge | None = None,
    *,
    shards: int | None = None,
    max_shard_size: int | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    by_shard: bool = False,
    verified: bool = True,
    part: Part | None = None,
    force: bool = False,
    progress: Callable[[str, int], None] = lambda name, size: None,
    **options: Unpack[SourceOptions],
) -> Conversion:
    """Convert ``source`` to the other framework's ``target`` and prove it by reading it back.

    Either may be in a store: ``s3://bucket/model.safetensors`` (`converter.stores`).

    ``layers`` and ``options`` are those of `open_source`. A target ``*.index.json`` is written as
    ``shards`` files, or as many as ``max_shard_size`` bytes each need. ``workers`` processes do the
    work, or an ``executor``; the bytes are the same. ``progress`` is called with each tensor's name
    and its size in bytes.

    With ``by_shard``, an executor has a whole shard to do at a time, as one must whose workers are on other
    machines (`converter.engines.Engine`); a shard stays when another fails, and is not done again. It is so
    where either end is in a store. With ``part``, only that part of the shards is written, to be published
    by `finish` when all parts are there. Either way results are always verified, and ``progress`` is called
    with each shard's name.

    Raises `UsageError` for paths and formats that cannot be meant, `converter.FormatError` for a bad
    source, `converter.PlanError` for tensors that do not fit and `converter.VerifyError` if the
    written file is not as planned; ``target`` then is what it was before, or absent.
    """
    opened = source if isinstance(source, Source) else open_source(source, layers, **options)
    target = locate(target)
    planned = opened.plan()
    check_target(opened.checkpoint, planned, target, force=force)
    _check_ties(opened)
    in_store = isinstance(target, Url) or isinstance(opened.checkpoint.file, Url)
    by_shard |= in_store and is_sharded(target)
    if not verified and (by_shard or part is not None):
        raise UsageError(say("parts are always verified: a result is not put together on trust"))
    checkpoint = opened.checkpoint
    size: Any = {"shards": shards, "max_shard_bytes": max_shard_size}
    by: Any = {"workers": workers, "executor": executor, "progress": progress}
    if part is not None:
        written = write_part(Parted.of(checkpoint, planned, target, **size), part, **by)
    elif by_shard:
        written = write_shards(Parted.of(checkpoint, planned, target, **size), **by)
    else:
        written = write(checkpoint, planned, target, verified=verified, **size, **by)
    return Conversion(planned, written.files, written.casts, written.reused)


def finish(
    source: Location | str | Source,
    target: Location | str,
    layers: Mapping[str, LayerSpec] | Knowledge | None = None,
    *,
    shards: int | None = None,
    max_shard_size: int | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    force: bool = False,
    progress: Callable[[str, int], None] = lambda name, size: None,
    **options: Unpack[SourceOptions],
) -> Conversion:
    """Publish the conversion that `convert` has written in parts, with the same arguments.

    The parts' digests are checked first; ``progress`` is called with each shard's name and its size in
    bytes. Raises `converter.VerifyError` naming every part that is missing, altered or of another plan
    or source, and else what `convert` raises; ``target`` then is what it was before, or absent.
    """
    opened = source if isinstance(source, Source) else open_source(source, layers, **options)
    target = locate(target)
    planned = opened.plan()
    check_target(opened.checkpoint, planned, target, force=force)
    whole = Parted.of(opened.checkpoint, planned, target, shards=shards, max_shard_bytes=max_shard_size)
    written = publish(whole, workers=workers, executor=executor, progress=progress)
    return Conversion(planned, written.files, written.casts)
