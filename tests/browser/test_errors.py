"""A run that fails in our code says why in the page, until the next run."""

import pytest

from support import page
from support.page import RENDERERS

SMALL = {"width": 64, "height": 64, "frames": 3, "steps": 1}
RIGHT = {"motion": 127, "motion_amount": "by motion"}
WRONG = {"motion": 30, "motion_amount": "much"}
SENTENCE = (
    "motion is 30 and motion in words is 'much'; set motion back to 127, or motion in words to 'by motion'."
)
OVER = """document.querySelectorAll(".p-toast-message-error").length === 0"""


@pytest.fixture(params=RENDERERS)
def opened(request, browser, stocked_server):
    shown = page.open_page(browser, stocked_server, request.param)
    yield shown
    shown.context.close()


def fail(shown, server, **values) -> None:
    page.set_widgets(shown, values)
    with shown.expect_response(lambda r: r.url.endswith("/prompt") and r.request.method == "POST") as queued:
        shown.get_by_test_id("queue-button").click()
    server.wait(queued.value.json()["prompt_id"])


def said(shown) -> list[str]:
    """What stands at the edge of the page, waited for."""
    shown.locator(".p-toast-message-error").first.wait_for()
    return [text.strip() for text in shown.locator(".p-toast-message-error").all_inner_texts()]


def test_a_node_that_fails_says_what_to_do_until_the_next_run(opened, stocked_server):
    page.open_template(opened, "1 First video")
    fail(opened, stocked_server, **SMALL, **WRONG)
    assert said(opened) == [f"Image to Video (SVD Animate)\n{SENTENCE}"]
    page.set_widgets(opened, RIGHT)
    page.run(opened, stocked_server)
    opened.wait_for_function(OVER)


def test_so_does_a_node_of_cores_that_runs_our_model(opened, stocked_server):
    page.open_template(opened, "7 Sampler in parts")
    fail(opened, stocked_server, **SMALL, shape="list", scales="1, 2")
    (sentence,) = said(opened)
    assert (
        sentence.startswith("SamplerCustom\n")
        and "give one finite number for each of the 3 frames" in sentence
    )


def test_the_failure_of_anothers_code_is_left_to_the_host(opened, stocked_server, base):
    (base / "input" / "no_picture.png").write_text("no picture")
    page.open_template(opened, "1 First video")
    fail(opened, stocked_server, **SMALL, image="no_picture.png")
    opened.get_by_test_id("error-overlay").wait_for()
    assert opened.evaluate(OVER)
