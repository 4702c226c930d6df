"""Weights between Torch and Paddle: formats -> plan -> execute -> verify. Imports neither."""

from converter.checkpoint import Checkpoint, TensorInfo
from converter.errors import ConverterError, FormatError, PlanError, UsageError, VerifyError
from converter.execute import converted, write_checkpoint
from converter.formats import open_checkpoint
from converter.pipeline import check_target, convert, framework_of, plan_for
from converter.plan import Assumption, LayerSpec, Plan, Step, make_plan

__all__ = [
    "Assumption",
    "Checkpoint",
    "ConverterError",
    "FormatError",
    "LayerSpec",
    "Plan",
    "PlanError",
    "Step",
    "TensorInfo",
    "UsageError",
    "VerifyError",
    "check_target",
    "convert",
    "converted",
    "framework_of",
    "make_plan",
    "open_checkpoint",
    "plan_for",
    "write_checkpoint",
]
