"""What a network of pictures makes of draws from its prior."""

import numpy as np
import numpy.typing as npt
import torch

from kilter.service.detector.networks.image import ImageVAE


@torch.no_grad()
def samples(network: ImageVAE, count: int, seed: int) -> npt.NDArray[np.uint8]:
    """The mean pictures of z ~ N(0, I), as large as the network sees them: (count, height, width, channels).

    They have no light of their own: each goes from black to white.
    """
    z = torch.randn(1, count, network.shape.latent, generator=torch.Generator().manual_seed(seed))
    mean = network.decode(z).mean.reshape(count, network.shape.channels, *network.shape.small)
    low, high = mean.amin((1, 2, 3), keepdim=True), mean.amax((1, 2, 3), keepdim=True)
    shade = (mean - low) / (high - low).clamp(min=1e-6)
    pixels: npt.NDArray[np.uint8] = (255 * shade).round().byte().permute(0, 2, 3, 1).numpy()
    return pixels
