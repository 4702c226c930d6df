"""Weights between Torch and Paddle: formats -> plan -> execute -> verify. Imports neither."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converter.checkpoint import Checkpoint, TensorInfo
    from converter.engines import engine
    from converter.errors import (
        ConverterError,
        FormatError,
        PlanError,
        Problem,
        StoreError,
        UsageError,
        VerifyError,
    )
    from converter.execute import write
    from converter.formats import open_checkpoint
    from converter.knowledge import Assumption, Knowledge, LayerSpec, ModelError, describe
    from converter.load import load_into
    from converter.operations import describe_operations
    from converter.pipeline import (
        Conversion,
        Source,
        check_target,
        convert,
        finish,
        framework_of,
        open_source,
        plan,
    )
    from converter.planner import Request, make_plan
    from converter.ranks import Part
    from converter.rule_file import RuleFile
    from converter.selection import select
    from converter.steps import Plan, Step, converted
    from converter.verification import verify

__all__ = [
    "Assumption",
    "Checkpoint",
    "Conversion",
    "ConverterError",
    "FormatError",
    "Knowledge",
    "LayerSpec",
    "ModelError",
    "Part",
    "Plan",
    "PlanError",
    "Problem",
    "Request",
    "RuleFile",
    "Source",
    "Step",
    "StoreError",
    "TensorInfo",
    "UsageError",
    "VerifyError",
    "check_target",
    "convert",
    "converted",
    "describe",
    "describe_operations",
    "engine",
    "finish",
    "framework_of",
    "load_into",
    "make_plan",
    "open_checkpoint",
    "open_source",
    "plan",
    "select",
    "verify",
    "write",
]

_HOMES = {
    "converter.checkpoint": "Checkpoint TensorInfo",
    "converter.engines": "engine",
    "converter.errors": "ConverterError FormatError PlanError Problem StoreError UsageError VerifyError",
    "converter.execute": "write",
    "converter.formats": "open_checkpoint",
    "converter.knowledge": "Assumption Knowledge LayerSpec ModelError describe",
    "converter.load": "load_into",
    "converter.operations": "describe_operations",
    "converter.pipeline": "Conversion Source check_target convert finish framework_of open_source plan",
    "converter.planner": "Request make_plan",
    "converter.ranks": "Part",
    "converter.rule_file": "RuleFile",
    "converter.selection": "select",
    "converter.steps": "Plan Step converted",
    "converter.verification": "verify",
}
"""Which module has which names. Workers, whose environment may lack what others need, load the rest only."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'converter' has no attribute '{name}'")
