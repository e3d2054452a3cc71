"""How well heat maps show where defects are: those that pictures have, and such as are drawn into good ones."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from benchmarks.figures import Floats
from benchmarks.image_defects import defective
from benchmarks.image_sets import Mask, Picture, Split
from kilter.service.detector import Detector

Heat = npt.NDArray[np.float32]


class Located(NamedTuple):
    """How well heat maps show where defects are."""

    pixel_auroc: float
    """Of the heat maps against the masks, over the pixels of all pictures with a defect."""
    pixel_auroc_each: float
    """The mean of their own."""
    made_auroc: float
    """Of good pictures with a drawn defect against those without; the others are of their pixels."""
    made_pixel_auroc: float
    made_pixel_auroc_each: float


def located(detector: Detector, split: Split, evidence: Floats, seed: int) -> Located:
    """How well the heat maps of the tested pictures, (n, rows * columns), show their defects, and drawn ones."""
    heats, masks = [], []
    for own, path in zip(evidence, split.masks, strict=True):
        if path is not None:
            mask = np.asarray(_opened(path)) > 127
            masks.append(mask)
            heats.append(enlarged(own, detector, mask.shape))
    good = [np.asarray(_opened(one)) for one, odd in zip(split.test, split.anomalous, strict=True) if not odd]
    rng = np.random.default_rng(seed)
    made = [defective(one, good[rng.integers(len(good))], rng) for one in good]
    plain, found = (
        detector.score([{"image": picture} for picture in pictures], reasons=1)
        for pictures in (good, [defect.picture for defect in made])
    )
    if found.evidence is None:
        raise TypeError("evidence was asked for")
    made_masks = [defect.mask for defect in made]
    made_heats = [enlarged(own, detector, mask.shape) for own, mask in zip(found.evidence, made_masks, strict=True)]
    labels = np.repeat([False, True], len(good))
    return Located(
        _pooled(masks, heats),
        _each(masks, heats),
        float(roc_auc_score(labels, np.concatenate([plain.score, found.score]))),
        _pooled(made_masks, made_heats),
        _each(made_masks, made_heats),
    )


def enlarged(evidence: Floats, detector: Detector, shape: tuple[int, ...]) -> Heat:
    """The evidence of a picture, (rows * columns) of the detector's grid, as a heat map of a height and width."""
    if detector.modality.grid is None:
        raise TypeError("a model of pictures was expected")
    cells = Image.fromarray(evidence.reshape(detector.modality.grid).astype(np.float32))
    return np.asarray(cells.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _opened(picture: Picture) -> Image.Image:
    """A picture at its own size, in grey."""
    content = Image.open(io.BytesIO(picture.read_bytes())) if isinstance(picture, Path) else Image.fromarray(picture)
    return content.convert("L")


def _pooled(masks: list[Mask], heats: list[Heat]) -> float:
    return auroc(np.concatenate([*map(np.ravel, masks)]), np.concatenate([*map(np.ravel, heats)]))


def _each(masks: list[Mask], heats: list[Heat]) -> float:
    return float(np.mean([auroc(m.ravel(), h.ravel()) for m, h in zip(masks, heats, strict=True) if 0 < m.mean() < 1]))


def auroc(mask: Mask, heat: Heat) -> float:
    """Area under the ROC curve by ranks, which for millions of pixels takes less room than the curve."""
    inside = int(mask.sum())
    ranks = rankdata(heat)[mask].sum() - inside * (inside + 1) / 2
    return float(ranks / (inside * (mask.size - inside)))
