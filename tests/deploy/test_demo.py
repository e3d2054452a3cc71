"""Tests of `make demo IMAGES=1`: what it trains on, and that it goes the whole way."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from deploy.demo.pictures import write_data

ROOT = Path(__file__).parents[2]


def test_only_zeros_are_trained_on_and_every_other_picture_is_new(tmp_path: Path) -> None:
    """By digit; a second demonstration writes the same again."""
    for _ in range(2):
        training, new = write_data(tmp_path)
    trained, others = list(training.iterdir()), list(new.rglob("*.png"))
    target = load_digits().target
    assert all(target[int(path.stem)] == 0 for path in trained)
    assert all(str(target[int(path.stem)]) == path.parent.name for path in others)
    assert sorted(int(path.stem) for path in trained + others) == list(range(len(target)))
    assert 0.6 < len(trained) / (target == 0).sum() < 0.8


@pytest.mark.e2e
def test_the_demonstration_ends_with_a_picture_of_its_result(tmp_path: Path) -> None:
    """Trained, served over HTTP, scored with heat maps; most digits are flagged, and few zeros."""
    command = [sys.executable, "-m", "deploy.demo.pictures", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"anomaly": true, "reasons": [{"box": ' in done.stdout
    assert "1: 18" in done.stdout
    with Image.open(tmp_path / "digits.png") as picture:
        assert picture.size == (1200, 300)
    assert (tmp_path / "heatmaps" / "8" / "0008.png").exists()
