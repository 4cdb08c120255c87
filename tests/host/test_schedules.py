"""The schedules of the nodes, made by the host's interpreter: a graph's values without use are ignored."""

import pytest

from support import in_host

SCRIPT = """
from pack.nodes.sampling import make_sigmas
from pack.samplers.schedules import SCHEDULES

levels = {"sigma_max": 80.0, "sigma_min": 0.1, "rho": 3.0}
changed = {"sigma_max": 81.0, "sigma_min": 0.2, "rho": 4.0}
print(json.dumps({
    name: [
        key for key in levels
        if not torch.equal(
            make_sigmas(name, 4, **levels), make_sigmas(name, 4, **(levels | {key: changed[key]}))
        )
    ]
    for name in SCHEDULES
}))
"""


@pytest.fixture(scope="module")
def numbers_of_schedules():
    return in_host.result_of(SCRIPT)


@pytest.mark.parametrize(
    ("schedule", "numbers"),
    [
        ("karras", ["sigma_max", "sigma_min", "rho"]),
        ("exponential", ["sigma_max", "sigma_min"]),
        ("align_your_steps", []),
        ("animate_lcm", []),
    ],
)
def test_a_schedule_follows_the_numbers_that_it_takes_and_no_others(numbers_of_schedules, schedule, numbers):
    assert numbers_of_schedules[schedule] == numbers
