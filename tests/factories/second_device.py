"""A second device on a machine that has one: torch's ``meta``, whose tensors have shapes and no numbers.

What an accelerator would refuse is refused here: an operation that takes a tensor in the host's memory beside one on
the device. What would make the host wait for it is counted, under the function of medistill that asks: a number read
back, a copy to the host, a shape that hangs on values, and a copy to the device that does not go on by itself. A read
that `Watched.allowed` names gives numbers that were made up, finite and alike in every run; any other is refused.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import medistill

META = torch.device("meta")
PACKAGE = str(Path(medistill.__file__).parent)
aten = torch.ops.aten
FROM_DATA: tuple[Callable[..., Any], ...] = (torch.tensor, torch.as_tensor, Tensor.new_tensor)
"""Make a tensor of numbers of the host, and wait until they have arrived."""
CHECKED = {aten._linalg_check_errors.default, aten._linalg_eigh.default}
"""Ask the device how they went before they return, which ``meta`` does not do."""
AGAIN = {"engine.outer.step", "training.loop.epochs"}
"""What is done again and again, so that what is sent there must not be waited for."""
_UNNAMED = re.compile(r"\.<locals>|\.<(genexpr|listcomp|dictcomp|setcomp|lambda)>")


class RefusedError(AssertionError):
    """What the second device would not do, or not without being waited for."""


class Watched(TorchDispatchMode):
    """A block in which what runs on ``meta`` is watched.

    Args:
        allowed: function of medistill, as ``engine.outer.step`` -> why it may wait for the device.
        numbers: function -> the numbers that it reads, where those that are made up would lead nowhere.

    Attributes:
        waits: how often each function made the host wait for a number, a copy or a shape.
        sent: how often each function sent numbers of the host to the device and waited until they were there.

    Raises:
        RefusedError: a CPU tensor that is no scalar is used beside one on the device; a function that is not named
            waits; or numbers are sent, and waited for, in an outer step or in an epoch.
    """

    def __init__(self, allowed: Mapping[str, str], numbers: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.allowed, self.numbers = allowed, numbers or {}
        self.waits: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self._around = ExitStack()

    def __enter__(self) -> Watched:
        self._around.enter_context(_without_autocast())
        self._around.enter_context(_FromData(self))
        super().__enter__()
        return self

    def __exit__(self, *told: Any) -> None:
        super().__exit__(*told)
        self._around.close()

    def __torch_dispatch__(
        self, called: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do what is asked where a device would; count and answer what it would be waited for."""
        kwargs = kwargs or {}
        tensors = list(_tensors([args, kwargs]))
        there = [one for one in tensors if one.device == META]
        if called is aten._to_copy.default or called is aten.copy_.default:
            return self._copied(called, args, kwargs)
        if there and (stray := [one for one in tensors if one.device != META and one.ndim]):
            raise RefusedError(f"{asking()}: {called} takes a CPU tensor {tuple(stray[0].shape)} beside one on {META}")
        if not there:
            return called(*args, **kwargs)
        answer = _ANSWERS.get(called)
        if called is aten._local_scalar_dense.default and asking() in self.numbers:
            answer = lambda tensor: self.numbers[asking()]  # noqa: E731
        if answer is None and called in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
            masks = [one for one in args[1] if one is not None and one.dtype in (torch.bool, torch.uint8)]
            if masks:
                self.wait(f"{called} by a mask")
                return _by_mask(called, args)
        if called in CHECKED:
            self.wait(str(called))
        if answer is None:
            return called(*args, **kwargs)
        self.wait(str(called))
        return answer(*args, **kwargs)

    def wait(self, what: str) -> None:
        """Count one more wait of the function that asks.

        Raises:
            RefusedError: it is not named.
        """
        where = asking()
        self.waits[where] += 1
        if where not in self.allowed:
            raise RefusedError(f"{where} waits for the device ({what})")

    def _copied(self, called: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        of_new = called is aten._to_copy.default
        source = args[0] if of_new else args[1]
        target = torch.device(kwargs.get("device") or source.device) if of_new else args[0].device
        moving = kwargs.get("non_blocking", False) if of_new else (args[2] if len(args) > 2 else False)
        if source.device == META and target != META:
            self.wait("copy to the host")
            made = made_up(source.shape, kwargs.get("dtype") or source.dtype)
            return made if of_new else args[0].copy_(made)
        if source.device != META and target == META and not moving and source.numel():
            self.send()
        return called(*args, **kwargs)

    def send(self) -> None:
        """Count numbers that are sent and waited for.

        Raises:
            RefusedError: it happens again and again.
        """
        where, *around = asking_all()
        self.sent[where] += 1
        if again := AGAIN.intersection([where, *around]):
            raise RefusedError(f"{where} waits until numbers are on the device, in {', '.join(sorted(again))}")


class _FromData(TorchFunctionMode):
    """Sees tensors that are made of numbers of the host, which torch makes on ``meta`` without a copy."""

    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self.watched = watched

    def __torch_function__(
        self, called: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = called(*args, **(kwargs or {}))
        if called in FROM_DATA and made.device == META:
            self.watched.send()
        return made


@contextmanager
def _without_autocast() -> Iterator[None]:
    """Answer for ``meta``, which autocast does not know, that it is off there, and refuse to turn it on."""
    block, enabled = torch.autocast, torch.is_autocast_enabled

    def autocast(device: str, *args: Any, **kwargs: Any) -> Any:
        if device != META.type:
            return block(device, *args, **kwargs)
        assert kwargs["enabled"] is False
        return nullcontext()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "autocast", autocast)
        patch.setattr(torch, "is_autocast_enabled", lambda device: device != META.type and enabled(device))
        yield


def asking() -> str:
    """Return the innermost function of medistill that is being run, as ``engine.outer.step``."""
    return asking_all()[0]


def asking_all() -> list[str]:
    """Return the functions of medistill that are being run, the innermost first; comprehensions count as theirs."""
    found, frame = [], sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PACKAGE) and code.co_name != "__torch_function__":
            module = Path(code.co_filename).relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
            found.append(f"{module}.{_UNNAMED.sub('', code.co_qualname)}")
        frame = frame.f_back
    return found or ["a test"]


def made_up(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return numbers of the host: floats between 0.1 and 1, integers 0, 1, 0, 1, and booleans that are all true."""
    count = torch.Size(shape).numel()
    if dtype == torch.bool:
        return torch.ones(shape, dtype=dtype)
    if dtype.is_floating_point:
        values = 0.1 + 0.9 * torch.rand(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
        return values.to(dtype).view(shape)
    return (torch.arange(count) % 2).to(dtype).view(shape)


def _tensors(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, list | tuple):
        for one in given:
            yield from _tensors(one)
    elif isinstance(given, dict):
        yield from _tensors(list(given.values()))


def _number(tensor: Tensor) -> float | int | bool:
    """A number read back: true, 1.0, or 0, which is what routines of linear algebra return where all went well."""
    if tensor.dtype == torch.bool:
        return True
    return 1.0 if tensor.dtype.is_floating_point else 0


def _all_places(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.numel(), tensor.ndim, dtype=torch.int64, device=META)


def _by_mask(called: Any, args: Sequence[Any]) -> Tensor:
    """Take every place of a mask."""
    given, chosen, *others = args
    places = [
        place
        for one in chosen
        for place in (_all_places(one).unbind(1) if one is not None and one.dtype == torch.bool else [one])
    ]
    return called(given, places, *others)


_ANSWERS: dict[Any, Callable[..., Any]] = {
    aten._local_scalar_dense.default: _number,
    aten.nonzero.default: _all_places,
    aten.is_nonzero.default: lambda tensor: True,
    aten.equal.default: lambda one, other: True,
    aten._unique2.default: lambda tensor, *_, **__: (tensor.flatten()[:2], tensor, tensor),
    aten.bincount.default: lambda tensor, weights=None, least=0: torch.empty(
        max(least, 2), dtype=torch.int64, device=META
    ),
}
"""What hangs on values -> what is answered in their place."""
