"""Copies to a device."""

import torch

from stillmotion.headless.engine.devices import to_device


def test_on_a_cpu_a_tensor_stays_where_it_is():
    x = torch.ones(3)
    assert to_device(x, torch.device("cpu")) is x
