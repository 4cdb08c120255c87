"""Numbers that are not finite: told at once on a CPU, one tensor late on a GPU, which is never waited for."""

import pytest
import torch

from stillmotion.headless.devices import FiniteCheck, to_device

FINE, BROKEN = torch.ones(3), torch.tensor([1.0, torch.nan, 1.0])


class OnGPU(torch.Tensor):
    """A tensor that claims to be on a GPU."""

    device = property(lambda self: torch.device("cuda"))


class Event:
    """Notes in which order it is recorded and waited for."""

    calls: list[str]

    def record(self) -> None:
        self.calls.append("recorded")

    def synchronize(self) -> None:
        self.calls.append("waited")


@pytest.fixture
def events(monkeypatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "Event", type("Event", (Event,), {"calls": calls}))
    return calls


def on_gpu(x: torch.Tensor) -> torch.Tensor:
    return x.as_subclass(OnGPU)


def test_on_a_cpu_the_tensor_itself_is_complained_of():
    complaints = []
    check = FiniteCheck(complaints.append)
    check.look_at(FINE, "at step 1")
    check.look_at(BROKEN, "at step 2")
    assert complaints == ["at step 2"]
    check.finish()
    assert complaints == ["at step 2"]


def test_on_a_gpu_the_tensor_before_is_once_the_next_is_asked_for(events):
    complaints = []
    check = FiniteCheck(complaints.append)
    check.look_at(on_gpu(BROKEN), "at step 1")
    assert (complaints, events) == ([], ["recorded"])
    check.look_at(on_gpu(FINE), "at step 2")
    assert (complaints, events) == (["at step 1"], ["recorded", "recorded", "waited"])
    check.finish()
    assert complaints == ["at step 1"]


def test_on_a_gpu_the_last_tensor_is_complained_of_at_the_end(events):
    complaints = []
    check = FiniteCheck(complaints.append)
    check.look_at(on_gpu(BROKEN), "after the last step")
    check.finish()
    check.finish()
    assert complaints == ["after the last step"]


def test_on_a_cpu_a_tensor_stays_where_it_is():
    assert to_device(FINE, torch.device("cpu")) is FINE
