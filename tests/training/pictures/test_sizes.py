import numpy as np

from kilter.service.detector.columns import ImageColumn
from kilter.training.pictures.sizes import Sizes

COLUMN = ImageColumn("image", 32, 48, 1)


def said(*sizes: tuple[int, int]) -> str:
    """What is said of pictures of some sizes."""
    return Sizes(np.array(sizes).reshape(-1, 2)).sentence(COLUMN)


def test_the_sizes_that_there_were_are_told() -> None:
    """One size, or from which to which; what was done about it; and proportions where they differ."""
    assert said((32, 48), (32, 48)) == "2 pictures, all 32 x 48 (height x width)."
    assert said((64, 96)) == "1 picture 64 x 96 (height x width), brought to 32 x 48."
    several = said((320, 480), (640, 990), (64, 96))
    assert several == "3 pictures of 3 sizes, from 64 x 96 to 640 x 990 (height x width), were brought to 32 x 48."
    stretched = said((100, 50), (50, 100))
    assert "whatever their proportions: width to height goes from 0.5 to 2" in stretched


def test_pictures_that_were_enlarged_are_counted() -> None:
    """In either direction."""
    assert "; 2 are smaller than that in height or width and were enlarged." in said((64, 96), (31, 96), (64, 47))
    assert said() == "No picture could be read."
