"""Training checkpoints as people keep them: choosing the part that is meant.

A file may hold ``{'step': ..., 'model_state': {...}, 'optimizer_state': {...}}``, and a model saved
from inside DataParallel has ``module.`` before every name. Neither is taken apart silently: the
user names the key and the prefix, and what is left out is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from converter.checkpoint import Checkpoint, KeyPath, TensorInfo, dotted
from converter.errors import FormatError, UsageError
from converter.messages import joined, say

__all__ = ["Group", "groups", "hints", "select"]

_TORCH_SLOTS = frozenset({"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "step"})
_PADDLE_SLOTS = ("_moment1_0", "_moment2_0", "_beta1_pow_acc_0", "_beta2_pow_acc_0", "_velocity_0")
_WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every name."""


@dataclass(frozen=True)
class Group:
    """A dict of tensors inside a checkpoint."""

    key: KeyPath
    """Empty for tensors at the top."""
    tensors: tuple[TensorInfo, ...]

    @property
    def kind(self) -> str:
        """What its names look like, to help a reader choose: no decision rests on it."""
        leaves = [info.path[-1] for info in self.tensors]
        if all(leaf in _TORCH_SLOTS for leaf in leaves):
            return say("state of a Torch optimizer")
        if any(leaf.endswith(_PADDLE_SLOTS) for leaf in leaves):
            return say("state of a Paddle optimizer")
        return say("state dict")

    @property
    def prefix(self) -> str:
        """A wrapper's prefix that every name has, or nothing."""
        names = [dotted(info.path[len(self.key) :]) for info in self.tensors]
        return next((prefix for prefix in _WRAPPERS if all(name.startswith(prefix) for name in names)), "")


def groups(checkpoint: Checkpoint) -> list[Group]:
    """Return the dicts of tensors in a checkpoint, in the file's order."""
    found: dict[KeyPath, list[TensorInfo]] = {}
    for info in checkpoint.tensors.values():
        key = info.path[:-1]
        if "state" in key:  # Torch's optimizers have a dict for every parameter, under 'state'
            key = key[: key.index("state")]
        found.setdefault(key, []).append(info)
    return [Group(key, tuple(tensors)) for key, tensors in found.items()]


def select(
    checkpoint: Checkpoint, key: str | None = None, prefix: str | None = None
) -> tuple[Checkpoint, str]:
    """Take the part under ``key`` (a dotted key path), and ``prefix`` off the names that start with it.

    Returns the part as a checkpoint, and a sentence that says what was left out. Raises `UsageError`
    if there is no such key or no name has the prefix, `FormatError` if two names become one.
    """
    tensors = list(checkpoint.tensors.values())
    scalars = dict(checkpoint.scalars)
    told: list[str] = []
    if key is not None:
        inside = [(info, rest) for info in tensors if (rest := _below(info.path, key)) is not None]
        if not inside:
            known = ", ".join(f"'{dotted(group.key)}'" for group in groups(checkpoint) if group.key) or say(
                "none"
            )
            raise UsageError(
                say(
                    "{file} has no tensors under the key '{key}' (its keys: {known})",
                    file=checkpoint.file,
                    key=key,
                    known=known,
                )
            )
        kept = {info.name for info, _ in inside}
        chosen = {rest: value for path, value in scalars.items() if (rest := _below(path, key))}
        told.append(
            say(
                "key {key}; left out: {parts}",
                key=key,
                parts=_left_out(checkpoint, kept, len(scalars) - len(chosen)),
            )
        )
        tensors = [replace(info, path=rest) for info, rest in inside]
        scalars = chosen
    if prefix:
        stripped = sum(info.name.startswith(prefix) for info in tensors)
        if not stripped or any(info.name == prefix for info in tensors):
            raise UsageError(
                say(
                    "no tensor's name in {file} starts with '{prefix}' and goes on",
                    file=checkpoint.file,
                    prefix=prefix,
                )
            )
        tensors = [_without(info, prefix) if info.name.startswith(prefix) else info for info in tensors]
        told.append(say("prefix {prefix} taken off {stripped} names", prefix=prefix, stripped=stripped))
    named = {info.name: info for info in tensors}
    if len(named) != len(tensors):
        raise FormatError(
            checkpoint.file,
            say("two tensors have the same name with this choice: {choice}", choice=joined(*told)),
        )
    return replace(checkpoint, tensors=named, scalars=scalars), joined(*told)


def _below(path: KeyPath, key: str) -> KeyPath | None:
    """Return what is left of a key path below a dotted key, or None if it is elsewhere."""
    for depth in range(1, len(path)):
        if dotted(path[:depth]) == key:
            return path[depth:]
    return None


def _without(info: TensorInfo, prefix: str) -> TensorInfo:
    """Take a prefix off a tensor's name: whole groups first, then the start of the next."""
    path = info.path
    while len(path) > 1 and prefix.startswith(f"{path[0]}."):
        prefix = prefix[len(path[0]) + 1 :]
        path = path[1:]
    return replace(info, path=(path[0][len(prefix) :], *path[1:]))


def _left_out(checkpoint: Checkpoint, kept: set[str], scalars: int) -> str:
    parts = []
    for group in groups(checkpoint):
        count = sum(info.name not in kept for info in group.tensors)
        if count:
            parts.append(
                say("{key} ({count} tensors)", key=dotted(group.key) or say("top level"), count=count)
            )
    if scalars:
        parts.append(say("{scalars} values that are no tensors", scalars=scalars))
    if not parts:
        return say("nothing")
    found, *more = parts
    for part in more:
        found = say("{first}, {second}", first=found, second=part)
    return found


def hints(checkpoint: Checkpoint, key: str | None, prefix: str | None) -> Iterator[str]:
    """Yield what a user may have meant, when a plan failed."""
    found = groups(checkpoint)
    if key is None and len(found) > 1:
        name = checkpoint.file.name
        yield say("{name} holds several dicts of tensors. To convert one of them:", name=name)
        for group in found:
            yield say(
                "  --key {key}  {count} tensors, {kind}",
                key=dotted(group.key) or say("(top level)"),
                count=len(group.tensors),
                kind=group.kind,
            )
    for group in found:
        if prefix is None and group.prefix and (key is None or key == dotted(group.key)):
            text = (
                say(
                    "Every name under {key} starts with '{prefix}': add --strip-prefix {prefix} if a wrapper "
                    "put it there."
                )
                if group.key
                else say(
                    "Every name starts with '{prefix}': add --strip-prefix {prefix} if a wrapper put it "
                    "there."
                )
            )
            yield text.filled(key=dotted(group.key), prefix=group.prefix)
