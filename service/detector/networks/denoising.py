"""Denoising autoencoders: a record is spoilt, and the network gives it back as it was (Vincent et al., 2010).

What is asked of the network is then no copy, but the record that the spoilt one is likely to have been.
"""

import torch
from torch import Tensor

from kilter.service.detector.networks.autoencoder import Autoencoder
from kilter.service.detector.networks.base import Posterior
from kilter.service.detector.networks.pictures import PictureVAE, resize, spreading
from kilter.service.detector.networks.tabular import TabularVAE

NOISE = 0.2  # standard deviation of the noise of a number, or of a place of a picture, in standardised units
COARSENESS = 4
"""Noise of pictures is drawn on a grid of so many pixels a cell, and is smooth between: that of single pixels averages
out (Kascenas et al., Denoising autoencoders for unsupervised anomaly detection in brain MRI, 2022)."""


class TabularDenoiser(Autoencoder, TabularVAE):
    """Of tables: fields are hidden, as for the variational one, and numbers have Gaussian noise."""

    def shown(self, inputs: Tensor, generator: torch.Generator) -> Posterior:
        numbers = torch.zeros(self.values, device=inputs.device).index_fill(0, self.gaussian, 1.0)
        noise = torch.randn(inputs.shape, generator=generator, device=inputs.device)
        return super().shown(inputs + NOISE * noise * numbers, generator)


class PictureDenoiser(Autoencoder, PictureVAE):
    """Of pictures: with smooth noise of every strength up to `NOISE` of their own contrast times `COARSENESS`."""

    def shown(self, inputs: Tensor, generator: torch.Generator) -> Posterior:
        (height, width), device = self.shape.small, inputs.device
        coarse = [-(-side // COARSENESS) for side in (height, width)]
        noise = torch.randn((*inputs.shape[:2], *coarse), generator=generator, device=device)
        grown = resize(noise, spreading(height, coarse[0]).to(device), spreading(width, coarse[1]).to(device))
        strength = COARSENESS * NOISE * torch.rand((len(inputs), 1, 1, 1), generator=generator, device=device)
        return self.encode(inputs + strength * grown)
