"""What pickles of Torch say of tensors: shared by the zip format and the one before it."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.checkpoint import BFLOAT16, Checkpoint, Extent, KeyPath, TensorInfo
from converter.formats._nested import flatten
from converter.formats._stand_ins import NUMPY_GLOBALS, Globals, as_tuple
from converter.stores.url import Location

__all__ = ["GLOBALS", "STORAGES", "UNTYPED", "Storage", "checkpoint", "persistent"]

STORAGES: dict[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": BFLOAT16,
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
    "ComplexFloatStorage": np.dtype("<c8"),
    "ComplexDoubleStorage": np.dtype("<c16"),
}
"""The storage classes that `torch.save` names in ``_rebuild_tensor_v2``, by the dtype of their elements."""
UNTYPED: dict[str, np.dtype[Any]] = {
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
}
"""The dtypes without a storage class: ``_rebuild_tensor_v3`` names them, on a storage of bytes."""
_BYTES = np.dtype("u1")
_MAX_DIMENSIONS = 32
_MAX_SIZE = 1 << 48


@dataclass(frozen=True)
class Storage:
    """A storage as its persistent id tells."""

    dtype: np.dtype[Any]
    key: str
    numel: int

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class _Tensor:
    storage: Storage
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild(storage: Any, dtype: Any, offset: Any, shape: Any, stride: Any, metadata: Any) -> _Tensor:
    if not isinstance(storage, Storage) or not isinstance(dtype, np.dtype):
        raise pickle.UnpicklingError("a tensor is malformed")
    sizes = (offset, *shape, *stride)
    if len(shape) != len(stride) or len(shape) > _MAX_DIMENSIONS:
        raise pickle.UnpicklingError("a tensor is malformed")
    if not all(type(size) is int and 0 <= size < _MAX_SIZE for size in sizes):
        raise pickle.UnpicklingError("a tensor has a malformed offset, shape or stride")
    if metadata:
        # Torch marks lazily negated or conjugated tensors there: their bytes are not their values.
        raise pickle.UnpicklingError("a tensor is a lazy view; save it again after .clone()")
    count = storage.nbytes // dtype.itemsize
    if math.prod(shape) > count:
        raise pickle.UnpicklingError(
            "a tensor is expanded beyond its storage; save it again after .contiguous()"
        )
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= count:
        raise pickle.UnpicklingError(f"a tensor of shape {list(shape)} reaches beyond its storage")
    return _Tensor(storage, dtype, offset, tuple(shape), tuple(stride))


def _rebuild_v2(
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    requires_grad: Any = 0,
    hooks: Any = 0,
    metadata: Any = 0,
) -> _Tensor:
    return _rebuild(storage, getattr(storage, "dtype", None), offset, shape, stride, metadata)


def _rebuild_v3(
    storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, metadata: Any = 0
) -> _Tensor:
    return _rebuild(storage, dtype, offset, shape, stride, metadata)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


GLOBALS: Globals = {
    **NUMPY_GLOBALS,
    ("torch", "Size"): as_tuple,
    ("torch._utils", "_rebuild_tensor"): _rebuild_v2,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "UntypedStorage"): _BYTES,
    **{("torch", name): dtype for name, dtype in (*STORAGES.items(), *UNTYPED.items())},
}


def persistent(key: Any) -> Storage:
    """Take a storage's persistent id."""
    match key:
        case ("storage", np.dtype() as dtype, str(name), str(), int(numel), *view) if 0 <= numel < _MAX_SIZE:
            if view not in ([], [None]):
                raise pickle.UnpicklingError("a storage is a view of another; save it again after .clone()")
            return Storage(dtype, name, numel)
    raise pickle.UnpicklingError("a storage is malformed")


def checkpoint(path: Location, tree: Any, start: Callable[[Storage], int]) -> Checkpoint:
    """Make a checkpoint of what a pickle held; ``start`` tells where a storage's bytes are in the file."""
    leaves, scalars = flatten(path, tree, _Tensor)
    # One tensor's storage may be another's, under the same key; each has to fit by itself.
    starts = {storage: start(storage) for storage in {tensor.storage for tensor in leaves.values()}}
    infos = (_info(path, keys, tensor, starts[tensor.storage]) for keys, tensor in leaves.items())
    tensors = {info.name: info for info in infos}
    return Checkpoint(path, "torch", tensors, scalars)


def _info(path: Location, keys: KeyPath, tensor: _Tensor, start: int) -> TensorInfo:
    shape = tensor.shape
    usual = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    contiguous = all(
        size == 1 or step == step_of_c
        for size, step, step_of_c in zip(shape, tensor.stride, usual, strict=True)
    )
    offset = start + tensor.offset * tensor.dtype.itemsize
    return TensorInfo(keys, tensor.dtype, shape, Extent(path, offset, None if contiguous else tensor.stride))
