"""The picture at the size of the clip: every picture is made here."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.clips.canvas import FITS
from stillmotion.clips.picture import centre_object, fit_picture, over_white, to_canvas

RED, PLAIN = (1.0, 0.0, 0.0), (0.8, 0.03, 0.39)
BACKGROUND = 0.25
ROUNDING = 1e-6
"""A weighted mean of equal numbers, whose weights are rounded to float32."""

sides = st.integers(8, 300)
targets = st.sampled_from([64, 128, 192, 256])


def plain(width, height, colour=RED):
    return torch.tensor(colour, dtype=torch.float32)[:, None, None].expand(len(colour), height, width).clone()


def noise(width, height, channels=3):
    return torch.from_numpy(np.random.default_rng(0).random((channels, height, width), np.float32))


def is_colour(picture, colour):
    """(H, W), where a picture has that colour."""
    return ((picture - torch.tensor(colour)[:, None, None]).abs() <= ROUNDING).all(0)


# over_white


def test_colours_are_mixed_with_white_by_alpha():
    picture = noise(16, 8, 4)
    expected = picture[:3].double() * picture[3].double() + 1 - picture[3].double()
    np.testing.assert_allclose(over_white(picture), expected, atol=ROUNDING)


@pytest.mark.parametrize("function", [over_white, centre_object])
def test_a_picture_without_alpha_stays(function):
    picture = noise(9, 12)
    assert function(picture) is picture


# centre_object


def box(alpha):
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (40, 40)])
@pytest.mark.parametrize("corner", [(0, 0), (3, 7), (10, 14)])
def test_the_object_is_centred_in_a_square_of_the_longer_side(size, corner):
    x, y = corner
    picture = plain(*size, (0.1, 0.1, 0.1, 0.0))
    picture[:, y : y + 6, x : x + 10] = torch.tensor([*RED, 1 / 255])[:, None, None]  # barely visible
    square = centre_object(picture)
    assert square.shape == (4, 40, 40)
    assert box(square[3].numpy()) == (15, 17, 25, 23)
    assert square[:, 17, 15].tolist() == pytest.approx([*RED, 1 / 255])


def test_an_object_that_fills_its_picture_keeps_its_size():
    picture = noise(40, 20, 4).clamp(min=0.01)
    square = centre_object(picture)
    assert torch.equal(square[:, 10:30], picture)
    assert not square[:, :10].any() and not square[:, 30:].any()


def test_a_picture_that_is_nowhere_transparent_is_no_cut_out():
    picture = plain(40, 20, (*RED, 1.0))
    assert centre_object(picture) is picture


def test_a_transparent_picture_has_no_object():
    with pytest.raises(ValueError, match="fully transparent"):
        centre_object(plain(9, 9, (*RED, 0.0)))


# fit_picture


@settings(max_examples=60, deadline=None)
@given(sides, sides, targets, targets, st.sampled_from(FITS))
def test_any_picture_is_fitted_to_exactly_the_size(width, height, target_width, target_height, fit):
    fitted = fit_picture(plain(width, height), target_width, target_height, fit)
    assert fitted.shape == (3, target_height, target_width)
    assert fitted.dtype == torch.float32


@settings(max_examples=60, deadline=None)
@given(sides, sides, targets, targets, st.sampled_from(["crop", "stretch"]))
def test_a_plain_picture_stays_plain(width, height, target_width, target_height, fit):
    assert is_colour(fit_picture(plain(width, height, PLAIN), target_width, target_height, fit), PLAIN).all()


@settings(max_examples=60, deadline=None)
@given(sides, sides, targets, targets)
def test_padding_is_the_background_on_both_sides_alike(width, height, target_width, target_height):
    fitted = fit_picture(plain(width, height), target_width, target_height, "pad", BACKGROUND)
    red = is_colour(fitted, RED)
    assert (red | is_colour(fitted, (BACKGROUND,) * 3)).all()
    left, top, right, bottom = box(red.numpy())
    assert red[top:bottom, left:right].all()
    scale = min(target_width / width, target_height / height)
    assert (
        abs(right - left - width * scale) <= 0.5 + 1e-6 and abs(bottom - top - height * scale) <= 0.5 + 1e-6
    )
    assert abs(left - (target_width - right)) <= 1
    assert abs(top - (target_height - bottom)) <= 1


@pytest.mark.parametrize(
    ("size", "target"), [((192, 64), (64, 64)), ((64, 192), (64, 64)), ((320, 64), (128, 64))]
)
def test_crop_takes_the_middle(size, target):
    picture = noise(*size)
    left, top = (size[0] - target[0]) // 2, (size[1] - target[1]) // 2
    middle = picture[:, top : top + target[1], left : left + target[0]]
    np.testing.assert_allclose(fit_picture(picture, *target), middle, atol=ROUNDING)


@pytest.mark.parametrize(("size", "target"), [((17, 8), (64, 64)), ((8, 17), (64, 64)), ((19, 8), (128, 64))])
def test_crop_is_exact_to_a_fraction_of_a_pixel(size, target):
    x, y = torch.meshgrid(torch.arange(size[0]) / 20, torch.arange(size[1]) / 20, indexing="xy")
    fitted = fit_picture(torch.stack([x, y, x]), *target).numpy()
    # Ramps stay ramps: a twentieth a source pixel about the middle, at the scale that covers the target.
    scale = max(target[0] / size[0], target[1] / size[1])
    for channel, axis in enumerate((0, 1)):
        centred = np.arange(target[axis]) - (target[axis] - 1) / 2
        ramp = (centred / scale + (size[axis] - 1) / 2) / 20
        inside = (ramp > 3 / 20) & (ramp < (size[axis] - 4) / 20)  # three pixels are Lanczos' reach
        row = fitted[channel].mean(axis=axis)
        np.testing.assert_allclose(row[inside], ramp[inside], atol=0.8 / 255)


def test_nothing_is_rounded_to_eight_bits():
    """Enlarged eight times, a ramp of one level of 255 has more levels between."""
    ramp = (torch.arange(64) / 63 / 255).expand(3, 8, 64)
    assert len(fit_picture(ramp, 512, 64)[0, 32].unique()) > 256


def test_overshoot_at_an_edge_is_clamped():
    picture = plain(64, 64, (0.0, 0.0, 0.0))
    picture[:, :, 32:] = 1
    fitted = fit_picture(picture, 128, 128, "stretch")
    assert (fitted.min(), fitted.max()) == (0, 1)


def test_stretch_keeps_all_of_the_picture():
    picture = plain(256, 64)
    picture[:, :, 128:] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    fitted = fit_picture(picture, 64, 64, "stretch")
    for column, colour in ((0, RED), (28, RED), (35, (0.0, 0.0, 1.0)), (63, (0.0, 0.0, 1.0))):
        assert fitted[:, 32, column].tolist() == pytest.approx(colour, abs=ROUNDING)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(1, 300), (1, 4000), (2, 2), (8, 4000), (1, 1), (63, 64)]),
    st.sampled_from([(64, 64), (64, 512), (64, 4096)]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(FITS),
)
def test_very_long_pictures_are_fitted_by_every_way(size, target, lying, wide, fit):
    """Down to a line of pixels, into sizes as long, along and across."""
    size, target = size[:: -1 if lying else 1], target[:: -1 if wide else 1]
    fitted = fit_picture(plain(*size), *target, fit, BACKGROUND)
    assert fitted.shape[1:] == target[::-1]
    red = is_colour(fitted, RED)
    assert red.any() and (red | is_colour(fitted, (BACKGROUND,) * 3) & (fit == "pad")).all()


@pytest.mark.parametrize("fit", FITS)
def test_a_picture_of_the_size_stays(fit):
    picture = noise(64, 64)
    assert fit_picture(picture, 64, 64, fit) is picture


@pytest.mark.parametrize("shape", [(4, 8, 8), (8, 8), (1, 3, 8, 8), (3, 0, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(3, height, width\) is accepted"):
        fit_picture(torch.zeros(shape), 64, 64)


@pytest.mark.parametrize("size", [(0, 64), (64, 0), (-64, 64)])
def test_a_size_of_nothing_is_refused(size):
    with pytest.raises(ValueError, match=f"{size[0]}×{size[1]}"):
        fit_picture(plain(64, 64), *size)


def test_an_unknown_fit_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'zoom'.*crop, pad, stretch"):
        fit_picture(plain(64, 64), 64, 64, "zoom")


# to_canvas


def test_a_canvas_has_a_batch_and_lies_in_minus_1_to_1():
    picture = noise(24, 16)
    picture[:, 0, 0], picture[:, 0, 1] = 0, 1
    canvas = to_canvas(picture, 24, 16)
    assert (canvas.shape, canvas.dtype) == ((1, 3, 16, 24), torch.float32)
    assert (canvas.min(), canvas.max()) == (-1, 1)
    np.testing.assert_allclose(canvas[0], 2 * picture - 1, atol=ROUNDING)


def test_values_beyond_0_to_1_are_clamped_and_other_precisions_accepted():
    picture = torch.full((3, 64, 64), 1.5, dtype=torch.float16)
    assert (to_canvas(picture, 64, 64) == 1).all()


def test_a_cut_out_stands_in_the_middle_on_white_and_any_other_picture_where_it_was():
    picture = plain(64, 32, (0.0, 0.0, 0.0, 0.0))
    picture[:, :8, :8] = torch.tensor([*RED, 1.0])[:, None, None]
    plainly, cut_out = (to_canvas(picture, 64, 64, "pad", cut_out=flag) for flag in (False, True))
    assert plainly[0, :, 2, 2].tolist() == [-1, -1, -1]  # a bar
    assert plainly[0, :, 18, 2].tolist() == [1, -1, -1]
    assert cut_out[0, :, 2, 2].tolist() == [1, 1, 1]
    assert cut_out[0, :, 32, 32].tolist() == [1, -1, -1]
    wide = to_canvas(picture, 128, 64, "pad", cut_out=True)
    assert wide[0, :, 32, 2].tolist() == [1, 1, 1]
