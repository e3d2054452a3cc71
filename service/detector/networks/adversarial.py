"""A variational autoencoder of pictures that also learns from a critic, which tells pictures from what it makes.

A squared error by pixels is best at an average of all that a picture may be, which is blurred. The critic sees that no
real picture looks so (VAE-GAN: Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016). It
is of no use after the fit, and in no artifact: what is scored is the ELBO of the same likelihood as of other networks.

Adversarial fits are known to run away. Four things hold this one. There is no critic for the first half of the steps,
in which the network learns as others do. The critic's layers have a spectral norm of 1 (Miyato et al., 2018), and it
stops at a margin (the hinge loss). What it says, and how far its features are apart, are gradients of pixels, which
together are made as long as the likelihood's own, so that neither drowns the other (as Esser et al., 2021, weigh
theirs). And the network that is kept is one whose held-out ELBO is no further below the best than looks can cost.
"""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils.parametrizations import spectral_norm

from kilter.service.detector.networks.base import Sizes
from kilter.service.detector.networks.pictures import CHANNELS, PictureVAE
from kilter.service.detector.schema import Schema

UNCRITICISED = 0.5  # share of the steps before there is a critic
SLOPE = 0.2  # of what is below 0, in the critic


class Criticism(NamedTuple):
    """What a critic finds in pictures."""

    verdict: Tensor  # (n,): above 0 for real ones
    features: Tensor  # (n, features): what it looks at


class Critic(nn.Module):
    """Tells real pictures, (n, channels, height, width), from made ones."""

    def __init__(self, channels: int, coarse: tuple[int, int]) -> None:
        """For pictures four times as high and wide as `coarse`, or a little less."""
        super().__init__()
        widths = (channels, CHANNELS, 2 * CHANNELS, 2 * CHANNELS)
        strides = (2, 2, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(spectral_norm(nn.Conv2d(a, b, 3, stride, 1)), nn.LeakyReLU(SLOPE))
            for a, b, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.last = spectral_norm(nn.Linear(widths[-1] * coarse[0] * coarse[1], 1))

    def forward(self, pictures: Tensor) -> Criticism:
        features = []
        for layer in self.layers:
            pictures = layer(pictures)
            features.append(pictures.flatten(1))
        return Criticism(self.last(features[-1]).squeeze(1), torch.cat(features, 1))


class AdversarialVAE(PictureVAE):
    """Its likelihood is that of `PictureVAE`; its reconstructions and draws are to convince a critic.

    One that was made by `untrained` has the critic, until it is fitted.
    """

    critic: Critic
    batches: Tensor
    uncriticised: int

    @classmethod
    def untrained(cls, schema: Schema, sizes: Sizes) -> Self:
        network = super().untrained(schema, sizes)
        network.critic = Critic(network.shape.channels, network.coarse)
        network.batches = nn.Buffer(torch.zeros((), dtype=torch.int64))
        network.uncriticised = int(UNCRITICISED * sizes.steps)
        return network

    def finish(self, x: Tensor) -> None:
        """Let the critic go."""
        del self.critic, self.batches

    @property
    def least_steps(self) -> int:
        return self.uncriticised + 1

    @property
    def allowance(self) -> float:
        """Once there is a critic, what twice the squared error costs: the most that it takes for pictures to look real.

        (Blau and Michaeli, The perception-distortion tradeoff, 2018.)
        """
        return 0.5 * math.log(2) * self.values if self.batches > self.uncriticised else 0.0

    def loss_terms(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The terms are those of the ELBO, with further gradients: the critic's, and those that it gives pictures."""
        self.batches.add_(1)
        if self.batches <= self.uncriticised:
            return super().loss_terms(x, generator)
        inputs = self.inputs(x)
        posterior = self.shown(inputs, generator)
        likelihood = self.decode(posterior.draw(generator))
        seen = self.small_pictures(likelihood)
        drawn = self.small_pictures(self.decode(self.sample(len(seen), generator)))
        surprise = self.surprise(inputs, likelihood).sum(-1)
        pulls = self.pulls(inputs, seen, drawn, (-2 * likelihood.log_sigma).exp())
        pulled = (seen * pulls[0]).flatten(1).sum(1) + (drawn * pulls[1]).flatten(1).sum(1)
        further = pulled + self.mistakes(inputs, seen.detach(), drawn.detach())
        return surprise + further - further.detach(), posterior.kl_by_dimension()

    def pulls(self, real: Tensor, seen: Tensor, drawn: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of reconstructions, by the features of real pictures and the verdict, and of draws, by the verdict.

        Pictures are (n, channels, height, width). Each of the three gradients is half as long, over all pictures, as
        that of the likelihood, which has so much `precision`.
        """
        length = (precision * (seen - real)).norm().detach()
        seen, drawn = seen.detach().requires_grad_(), drawn.detach().requires_grad_()
        own, other = self.critic(seen), self.critic(drawn)
        apart = (own.features - self.critic(real).features.detach()).square().sum()
        (likeness,) = torch.autograd.grad(apart, seen, retain_graph=True)
        convincing = torch.autograd.grad(-own.verdict.sum() - other.verdict.sum(), (seen, drawn))
        scaled = [length / 2 * pull / pull.norm().clamp(min=1e-12) for pull in (likeness, *convincing)]
        return scaled[0] + scaled[1], scaled[2]

    def mistakes(self, real: Tensor, *made: Tensor) -> Tensor:
        """How far the critic is from telling real pictures from made ones, by a margin: (n,)."""
        wrong = relu(1 - self.critic(real).verdict)
        for pictures in made:
            wrong = wrong + relu(1 + self.critic(pictures).verdict) / len(made)
        return wrong
