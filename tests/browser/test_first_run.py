"""The first minutes of a user: the first video, the node search, the download of a file."""

import pytest

from support import page
from support.page import CANVAS, VUE

FIRST = "1 First video"
CLICKS = 3
WITH_SVD_XT = "2 First video with SVD-XT"
SVD_XT = "svd_xt.safetensors"
SVD_XT_URL = f"https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt/resolve/main/{SVD_XT}"


@pytest.fixture
def new_page(browser, stocked_server):
    """Opens a page and closes it in the end."""
    opened = []

    def of(**options):
        opened.append(page.open_page(browser, stocked_server, **options))
        return opened[-1]

    yield of
    for shown in opened:
        shown.context.close()


def test_a_new_user_has_a_video_after_three_clicks(new_page, stocked_server):
    """In a fresh ComfyUI, which opens its template browser by itself: the pack, the template, Run."""
    shown = new_page(new_user=True)
    shown.evaluate("window.clicks = 0; addEventListener('click', () => window.clicks++, true)")
    shown.get_by_role("dialog").wait_for()
    page.choose_template(shown, FIRST)
    page.run(shown, stocked_server)
    page.wait_for_videos(shown, 1)
    assert shown.evaluate("window.clicks") == CLICKS
    assert shown.errors == []


def test_who_searches_for_image_to_video_finds_our_node_among_the_first(new_page):
    shown = new_page()
    shown.evaluate("app.graph.clear()")
    page.wait_until_at_rest(shown)
    page.open_search(shown)
    shown.keyboard.type("image to video")
    page.wait_until_at_rest(shown)
    found = shown.get_by_test_id("result-item")
    found.filter(has_text="Wan Image to Video").first.wait_for()  # the list of the whole query has it too
    first_three = [text.split("\n")[0] for text in found.all_inner_texts()[:3]]
    assert any("SVD Animate" in name for name in first_three), first_three


def test_the_first_video_is_an_app_too(new_page, stocked_server):
    """As an app a workflow shows its picture, its motion and its seed, and nothing of the graph."""
    shown = new_page()
    page.open_template(shown, FIRST)
    shown.evaluate("void app.extensionManager.command.execute('Comfy.ToggleLinear')")
    page.wait_until_at_rest(shown)
    inputs = shown.get_by_test_id("linear-widgets")
    inputs.wait_for()
    words = inputs.inner_text()
    assert all(name in words for name in ("image", "motion", "seed")) and "decoder" not in words
    assert shown.errors == []


@pytest.mark.parametrize("renderer", [CANVAS, VUE])
def test_the_page_offers_the_download_of_a_file_that_is_not_there(new_page, base, renderer):
    file = base / "models" / "checkpoints" / SVD_XT
    aside = file.rename(base / SVD_XT)
    try:
        shown = new_page(renderer=renderer)
        page.open_template(shown, WITH_SVD_XT)
        assert SVD_XT in shown.get_by_test_id("error-overlay").inner_text()
        shown.get_by_test_id("error-overlay").get_by_role("button", name="View details").click()
        with shown.expect_popup() as download:
            shown.get_by_role("button", name="Download").first.click()
        assert download.value.url == SVD_XT_URL
        assert shown.errors == []
    finally:
        aside.rename(file)
