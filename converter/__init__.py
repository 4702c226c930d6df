"""Weights between Torch and Paddle: formats -> plan -> execute -> verify. Imports neither."""

from converter.checkpoint import Checkpoint, TensorInfo
from converter.errors import ConverterError, FormatError, PlanError, Problem, UsageError, VerifyError
from converter.execute import write
from converter.formats import open_checkpoint
from converter.knowledge import Assumption, Knowledge, LayerSpec, ModelError, describe
from converter.load import load_into
from converter.operations import describe as describe_operations
from converter.pipeline import Conversion, Source, check_target, convert, framework_of, open_source, plan
from converter.planner import Request, make_plan
from converter.rule_file import RuleFile
from converter.selection import select
from converter.steps import Plan, Step, converted
from converter.verify import verify

__all__ = [
    "Assumption",
    "Checkpoint",
    "Conversion",
    "ConverterError",
    "FormatError",
    "Knowledge",
    "LayerSpec",
    "ModelError",
    "Plan",
    "PlanError",
    "Problem",
    "Request",
    "RuleFile",
    "Source",
    "Step",
    "TensorInfo",
    "UsageError",
    "VerifyError",
    "check_target",
    "convert",
    "converted",
    "describe",
    "describe_operations",
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
