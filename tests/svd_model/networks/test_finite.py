"""Numbers that are not finite: told at once on a CPU, one tensor late on a GPU, which is never waited for."""

import pytest
import torch

from stillmotion.svd_model.networks.finite import (
    FiniteCheck,
    NotFiniteError,
    check_finite,
    complaint_of_sampling,
)

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


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_none_is_refused_saying_where(number):
    x = torch.zeros(2, 3)
    check_finite(x, "in x")
    x[1, 2] = number
    with pytest.raises(NotFiniteError, match=r"^NaN or infinity in x\.$"):
        check_finite(x, "in x")


def test_only_float16_is_said_to_overflow():
    said = [
        str(complaint_of_sampling("at step 1", dtype, "try another")) for dtype in (torch.half, torch.float)
    ]
    assert said[0] == "NaN or infinity at step 1. float16 overflowed: try another."
    assert "The checkpoint is damaged" in said[1] and "try another" not in said[1]
