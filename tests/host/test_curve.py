"""A curve of guidance in a node: the shape that it draws, and what no curve is."""

import pytest

from support import graphs, host
from support.host_pictures import close, frames_of


def test_a_curve_is_sampled_as_the_shape_that_it_draws(server, base):
    line = {"shape": "list", "scales": "0:1, 1:2.5"}
    drawn, linear = (server.run(graphs.first_video(sample=changes)) for changes in (line, {}))
    assert close(frames_of(base, drawn), frames_of(base, linear))


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ("0:1, 2:3", "scales has point 2 at 2; give a position from 0 to 1."),
        ("0:1, 1:300", "scales has 300 at point 2; give a value from -100 to 100."),
    ],
)
def test_what_is_no_curve_is_refused_by_the_node(server, scales, message):
    entry = server.run(graphs.first_video(sample={"shape": "list", "scales": scales}))
    assert not host.succeeded(entry)
    assert message in host.error_of(entry)
