"""An object as a small pickle and the large buffers beside it, which workers share.

Buffers are those of numpy arrays (pickle's protocol 5, PEP 574) and of torch tensors on the CPU.
Whoever unpacks gets arrays and tensors that lie in the buffers it was given: nothing is copied.
"""

import io
import pickle
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.core.errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Packed:
    """What `pack` made of an object.

    Attributes:
        payload: The pickle.
        buffers: Views of the object's own memory, in the order in which `unpack` needs them.
    """

    payload: bytes
    buffers: Sequence[memoryview]


def pack(value: Any, *, what: str, pickler: type[pickle.Pickler] = pickle.Pickler) -> Packed:
    """Returns an object packed; tensors that share memory still do once they are unpacked.

    Args:
        value: Anything that can be pickled.
        what: Its name for the message, such as ``"the evaluator"``.
        pickler: Another pickler of protocol 5, such as cloudpickle's.

    Raises:
        InputError: The object cannot be pickled.
    """
    buffers: list[memoryview] = []
    file = io.BytesIO()
    try:
        _sharing(pickler)(file, protocol=5, buffer_callback=lambda buffer: buffers.append(
            buffer.raw())).dump(value)
    except Exception as error:  # whatever the object's own methods raise
        raise InputError(
            f"{what} ({type(value).__name__}) cannot be sent to workers "
            f"({type(error).__name__}: {' '.join(str(error).split())}); make it of picklable "
            "parts, defined in a module, or use --executor serial") from error
    return Packed(file.getvalue(), buffers)


def unpack(payload: bytes, buffers: Sequence[Any]) -> Any:
    """Returns the object; its arrays and tensors are writable if the buffers are."""
    return pickle.loads(payload, buffers=buffers)


def _sharing(base: type[pickle.Pickler]) -> type[pickle.Pickler]:
    class Sharing(base):  # type: ignore[misc, valid-type]
        """Takes the memory of tensors out of the pickle, once for each storage."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._storages: dict[int, _Storage] = {}

        def reducer_override(self, obj: Any) -> Any:
            torch = sys.modules.get("torch")  # without torch there is no tensor
            if torch is not None and isinstance(obj, torch.storage.TypedStorage):
                untyped = obj._untyped_storage
                if untyped.device.type == "cpu" and untyped.nbytes() > 0:
                    shared = self._storages.setdefault(untyped._cdata, _Storage(untyped))
                    return _typed, (shared, obj.dtype)
            inherited: Callable[[Any], Any] | None = getattr(super(), "reducer_override", None)
            return NotImplemented if inherited is None else inherited(obj)

    return Sharing


class _Storage:
    """The memory of tensors; one object each, so that pickle writes each memory once."""

    def __init__(self, untyped: "torch.UntypedStorage") -> None:
        self._untyped = untyped

    def __reduce__(self) -> Any:
        import torch

        numbers: Any = torch.empty(0, dtype=torch.uint8).set_(self._untyped).numpy()
        return _storage, (pickle.PickleBuffer(numbers),)


def _storage(buffer: Any) -> Any:
    import torch

    with warnings.catch_warnings():
        # A buffer that is shared read-only: its tensors must not be written to either.
        warnings.filterwarnings("ignore", "The given buffer is not writable")
        return torch.frombuffer(buffer, dtype=torch.uint8).untyped_storage()


def _typed(untyped: Any, dtype: "torch.dtype") -> Any:
    import torch

    make: Any = torch.storage.TypedStorage
    return make(wrap_storage=untyped, dtype=dtype, _internal=True)
