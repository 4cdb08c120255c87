"""A picture for each frame: as many as came, or one for all."""

import pytest
import torch

from stillmotion.clips.frames import one_each


def pictures(count: int):
    return (torch.full((1, 3, 2, 4), float(number)) for number in range(count))


def test_no_more_pictures_are_fitted_than_frames():
    fitted = []
    with pytest.raises(ValueError, match="there are 9 stills for a clip of 3 frames"):
        one_each(pictures(9), 3, 100, fitted.append, "stills")
    assert len(fitted) == 3


def test_a_video_alone_is_never_one_picture_for_all():
    options = (100, lambda picture: picture, "stills")
    assert one_each(pictures(1), 3, *options).shape == (3, 3, 2, 4)
    assert one_each(pictures(1), 1, *options, alone=False).shape == (1, 3, 2, 4)
    with pytest.raises(ValueError, match=r"there are 1 stills for a clip of 3 frames; give as many\.$"):
        one_each(pictures(1), 3, *options, alone=False)
