"""Local contrasts against a picture's own texture."""

import torch

from kilter.service.detector.networks.pixels import standardise
from kilter.service.detector.networks.places import FILTERS, Contrasts


def textures(count: int, grain: float) -> torch.Tensor:
    """Standardised pictures of noise on a ramp, (count, 1, 24, 20); the coarser the stronger."""
    generator = torch.Generator().manual_seed(4)
    ramp = torch.linspace(0, 1, 20).expand(count, 1, 24, 20)
    return standardise((ramp + grain * torch.randn(count, 1, 24, 20, generator=generator)).clamp(0, 1))


def test_a_stain_stands_out_of_its_own_picture() -> None:
    contrasts = Contrasts(24, 20)
    for grain in (0.02, 0.1):
        clean = textures(6, grain)
        stained = clean.clone()
        typical = (clean[..., 1:] - clean[..., :-1]).abs().median()
        stained[:, :, 10:13, 8:11] -= 6 * typical
        assert contrasts(clean)[0].shape == (6, FILTERS)
        rows, columns = divmod(contrasts(stained)[1].flatten(1).argmax(1).numpy(), 20)
        assert ((rows >= 9) & (rows <= 13) & (columns >= 7) & (columns <= 11)).all()
        assert ((contrasts(stained)[0] - contrasts(clean)[0]).amax(1) > 0.2).all()


def test_how_coarse_a_picture_is_hardly_matters() -> None:
    contrasts = Contrasts(24, 20)
    fine, coarse = (contrasts(textures(6, grain))[0].mean(0) for grain in (0.03, 0.09))
    assert (fine - coarse).abs().max() < 0.35


def test_what_is_usual_for_a_place_counts_less() -> None:
    contrasts = Contrasts(24, 20)
    picture = textures(1, 0.05)
    before = contrasts(picture)[0]
    contrasts.usual.mul_(2)
    torch.testing.assert_close(before - contrasts(picture)[0], torch.full((1, FILTERS), 2.0).log())


def test_an_even_picture_has_no_contrast_and_no_fault() -> None:
    assert all(torch.isfinite(found).all() for found in Contrasts(8, 8)(torch.zeros(1, 3, 8, 8)))
