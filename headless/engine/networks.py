"""The networks of a pipeline: loaded when first needed, and on the device while it has room for them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock

import torch
from torch import nn

from ...svd_model.layerwise import streaming
from .devices import own_modes, shares_host_memory
from .fit import Choice, Held

HOST = torch.device("cpu")


@dataclass
class _Loaded:
    """A network, where its weights are, and the function that ends their streaming."""

    module: nn.Module
    device: torch.device
    end_streaming: Callable[[], None] | None = None

    @property
    def streams(self) -> bool:
        """Whether the weights stream to the device."""
        return self.end_streaming is not None

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sum(tensor.nbytes for tensor in (*self.module.parameters(), *self.module.buffers()))


class Networks:
    """Networks by name, from functions that load one onto a device.

    A network in use stays where it is, in whatever thread. The others leave the device for one that needs
    their room: to host memory, or, on a device in host memory, to be read from their file again.
    """

    def __init__(self, loaders: Mapping[str, Callable[[torch.device], nn.Module]], device: torch.device):
        self._loaders, self._device = loaders, device
        self._loaded: dict[str, _Loaded] = {}
        self._users: Counter[str] = Counter()
        self._lock = RLock()

    def __getitem__(self, name: str) -> nn.Module:
        """The network, on the device unless it streams."""
        with self._lock, own_modes(self._device):
            loaded = self._loaded.get(name)
            with self.use(name, Choice(streams=loaded is not None and loaded.streams)) as network:
                return network

    def held(self, *names: str) -> Held:
        """Bytes on the device for networks to have: their own, and of networks that nobody uses."""
        with self._lock:
            there = {key: each for key, each in self._loaded.items() if each.device == self._device}
            idle = sum(each.size for key, each in there.items() if key not in names and not self._users[key])
            return Held(sum(there[name].size for name in names if name in there), idle)

    @contextmanager
    def use(self, name: str, choice: Choice) -> Iterator[nn.Module]:
        """Context in which a network is on the device, or streams to it, as a stage has chosen."""
        with self._lock:
            self._users[name] += 1  # first, so that nothing moves the network from here on
            try:
                if choice.alone:
                    self._leave_to(name)
                if name not in self._loaded:
                    self._load(name, choice.streams)
                elif self._users[name] == 1:
                    self._move(name, choice.streams)
                module = self._loaded[name].module
            except BaseException:
                self._users[name] -= 1
                raise
        try:
            yield module
        finally:
            with self._lock:
                self._users[name] -= 1

    def _leave_to(self, name: str) -> None:
        """Has all other networks that nobody uses leave the device."""
        for other, loaded in list(self._loaded.items()):
            if other == name or self._users[other] or loaded.device != self._device:
                continue
            if shares_host_memory(self._device):
                del self._loaded[other]
            else:
                streaming.move(loaded.module, HOST)
                loaded.device = HOST

    def _load(self, name: str, streams: bool) -> None:
        place = HOST if streams else self._device
        with own_modes(self._device):
            self._loaded[name] = _Loaded(self._loaders[name](place), place)
        if streams:
            self._stream(name)

    def _move(self, name: str, streams: bool) -> None:
        """Brings a network to the device, or has it stream, if it does not already."""
        loaded = self._loaded[name]
        if streams == loaded.streams and (streams or loaded.device == self._device):
            return
        if loaded.streams:
            loaded.end_streaming()
            loaded.end_streaming = None
        place = HOST if streams else self._device
        streaming.move(loaded.module, place)
        loaded.device = place  # only now, since memory may run out on the way
        if streams:
            self._stream(name)

    def _stream(self, name: str) -> None:
        loaded = self._loaded[name]
        if self._device.type == "cuda":
            streaming.pin(loaded.module)
        loaded.end_streaming = streaming.stream(loaded.module, self._device)
