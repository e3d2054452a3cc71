"""Pictures made by a mixture of their codes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import ArtifactError, Detector, KilterError
from kilter.service.detector.generation.mixture import FACTORS, MEANS, WEIGHTS, CodeMixture, MixtureShape
from kilter.service.detector.latent import LatentSpace


def mixture(latent: LatentSpace, components: int, seed: int) -> CodeMixture:
    rng = np.random.default_rng(seed)
    factors = np.tril(rng.normal(size=(components, latent.size, latent.size)) * 0.2)
    factors[:, range(latent.size), range(latent.size)] = rng.uniform(0.5, 1.5, (components, latent.size))
    means = rng.normal(size=(components, latent.size)) * 3
    tensors = {WEIGHTS: rng.dirichlet(np.ones(components) * 5), MEANS: means, FACTORS: factors}
    return CodeMixture(latent, MixtureShape(components, latent.size), tensors)


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(0, 1000))
def test_codes_have_the_moments_of_the_mixture(digits_detector: Detector, components: int, seed: int) -> None:
    """Mean and covariance, within what so many draws tell."""
    made = mixture(digits_detector.latent, components, seed)
    weights, means, factors = made._weights, made._means, made._factors
    codes = made.codes(8_000, np.random.default_rng(seed))
    mean = weights @ means
    spread = np.einsum("k,kij->ij", weights, factors @ factors.transpose(0, 2, 1))
    spread += np.einsum("k,ki,kj->ij", weights, means - mean, means - mean)
    scale = np.sqrt(np.diag(spread))
    assert (np.abs(codes.mean(0) - mean) < 6 * scale / 8_000**0.5).all()
    assert np.abs(np.cov(codes, rowvar=False) / np.outer(scale, scale) - spread / np.outer(scale, scale)).max() < 0.15


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_codes_near_others_stay_in_the_mixture(digits_detector: Detector, seed: int) -> None:
    """To move codes of one Gaussian leaves their distribution as it is, and each near where it was."""
    made = mixture(digits_detector.latent, 1, seed)
    rng = np.random.default_rng(seed)
    codes = made.codes(5000, rng)
    moved = made._moved(codes, rng)
    np.testing.assert_allclose(moved.mean(0), codes.mean(0), atol=0.15)
    np.testing.assert_allclose(moved.std(0) / codes.std(0), 1, atol=0.1)
    apart = np.linalg.norm(moved - codes, axis=1).mean() / np.linalg.norm(rng.permutation(codes) - codes, axis=1).mean()
    assert 0.4 < apart < 0.85  # the root of 1 - NEARNESS, of what lies between any two


def test_pictures_have_no_columns(digits_detector: Detector) -> None:
    """So that none can be asked to have a value; near others they are made as others are."""
    pictures = digits_detector.generate(4, seed=0)
    near = digits_detector.generate(40, seed=1, near=pictures)
    assert (near.shape, near.dtype) == ((40, 8, 8, 1), pictures.dtype)
    assert len(np.unique(near.reshape(40, -1), axis=0)) == 40
    with pytest.raises(KilterError, match="pictures have none: leave it out"):
        digits_detector.generate(3, where={"x": 1})
    with pytest.raises(KilterError, match="there is no picture to be near to"):
        digits_detector.generate(3, near=pictures[:0])


def test_a_mixture_that_does_not_fit_is_refused(digits_detector: Detector) -> None:
    """By the tensor, or by the size of a code."""
    latent = digits_detector.latent
    with pytest.raises(ArtifactError, match=r"has no tensor 'generator.weights' of the shape \(2,\)"):
        CodeMixture(latent, MixtureShape(2, 3), {})
    small = CodeMixture(
        latent, MixtureShape(1, 3), {WEIGHTS: np.ones(1), MEANS: np.zeros((1, 3)), FACTORS: np.eye(3)[None]}
    )
    with pytest.raises(ArtifactError, match="draws codes of 3 numbers, and a code has"):
        small.audit()
    size = latent.size
    flat = {WEIGHTS: np.ones(1), MEANS: np.zeros((1, size)), FACTORS: np.zeros((1, size, size))}
    with pytest.raises(ArtifactError, match="weights or factors that are not above 0"):
        CodeMixture(latent, MixtureShape(1, size), flat).audit()
