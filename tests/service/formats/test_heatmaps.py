"""A heat map stands by its picture's path in a folder of its own, and nowhere else."""

from pathlib import Path

import pytest

from kilter.service.detector import KilterError
from kilter.service.formats.heatmaps import check_heatmaps, map_name, write_heatmap


def test_no_two_heat_maps_have_one_name() -> None:
    """That of a picture with another ending gets one more, and so does a second one of a name."""
    drawn: set[str] = set()
    assert [map_name(name, drawn) for name in ("a.png", "a.jpg", "a.PNG", "a.jpg.png")] == [
        "a.png",
        "a.jpg.png",
        "a.PNG",
        "a.jpg.png.png",
    ]


def test_folders_that_are_refused(tmp_path: Path) -> None:
    """A file, one among the pictures, and one that holds something."""
    pictures, maps = tmp_path / "pictures", tmp_path / "maps"
    pictures.mkdir()
    check_heatmaps(maps, pictures, force=False)
    with pytest.raises(KilterError, match="whose pictures are read"):
        check_heatmaps(pictures / "maps", pictures, force=True)
    write_heatmap(maps, "x/a.png", b"1")
    with pytest.raises(KilterError, match="holds files already"):
        check_heatmaps(maps, pictures, force=False)
    check_heatmaps(maps, pictures, force=True)
    with pytest.raises(KilterError, match="is a file"):
        check_heatmaps(maps / "x" / "a.png", pictures, force=True)
    with pytest.raises(KilterError, match="leads out of"):
        write_heatmap(maps, "../b.png", b"1")
