"""Vector-quantised autoencoders: a code is a row of words from learned codebooks (van den Oord et al., 2017).

The encoder's numbers are cut into groups, each of which has a codebook of its own and becomes its nearest word. A
record then costs its reconstruction and the rarity of its words, -log of their shares among the fitting rows: together
they bound -log p(x), since p(x) is at least p(x | words) p(words).
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.networks.base import Network, PointPosterior, Posterior, Sizes
from kilter.service.detector.networks.pictures import PictureShape, PictureVAE
from kilter.service.detector.networks.tabular import TabularShape, TabularVAE
from kilter.service.detector.schema import Schema

WORDS = 64  # of a codebook
GROUP = 4  # numbers that become a word together
COMMITMENT = 0.25  # weight of the squared distance of the encoder's numbers from their word
PACE = 0.05  # share of a word that a step of the fit makes anew
DEAD = 0.05  # a word that is used less often than this in a step, on average, begins again at a record's numbers


class WordPosterior(PointPosterior):
    """The encoder's numbers, whose cost is the rarity of their words: in nats, shared out evenly in a group."""

    rarity: Tensor

    @classmethod
    def of(cls, numbers: Tensor, rarity: Tensor) -> Self:
        made = cls(numbers, torch.full_like(numbers, -torch.inf))
        made.rarity = rarity
        return made

    def kl_by_dimension(self) -> Tensor:
        return self.rarity

    def excess(self, z: Tensor) -> Tensor:
        return self.rarity.sum(-1).double()


class TabularWordShape(TabularShape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The features and sizes of a `TabularQuantiser`."""

    words: int


class PictureWordShape(PictureShape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sizes of a `PictureQuantiser`."""

    words: int


class Quantiser(Network):
    """A network with a codebook for each group of a code's numbers, learned by moving averages.

    Words that no record uses begin again at the numbers of a random record of the batch (Dhariwal et al., 2020).
    """

    code_numbers = 1
    standard_prior = False

    def __init__(self, shape: Any) -> None:
        super().__init__(shape)
        self.groups = shape.latent // GROUP
        self.book = nn.Buffer(torch.zeros(self.members, self.groups, shape.words, GROUP))
        self.uses = nn.Buffer(torch.zeros(self.members, self.groups, shape.words))  # in a step, or in the fitting rows

    def grouped(self, numbers: Tensor) -> Tensor:
        """Numbers, (members, n, latent), by groups: (members, groups, n, GROUP)."""
        return numbers.reshape(*numbers.shape[:-1], self.groups, GROUP).transpose(1, 2)

    def words_of(self, numbers: Tensor) -> Tensor:
        """1 for the word that is nearest to the numbers of each group, else 0: (members, groups, n, words)."""
        away = self.book.square().sum(-1).unsqueeze(2) - 2 * self.grouped(numbers) @ self.book.transpose(2, 3)
        nearest = away.argmin(-1, keepdim=True)
        return (nearest == torch.arange(away.shape[-1], device=away.device)).to(numbers.dtype)

    def spoken(self, words: Tensor) -> Tensor:
        """The numbers of words, (members, groups, n, words): (members, n, latent)."""
        return (words @ self.book).transpose(1, 2).flatten(2)

    def rarity(self, words: Tensor) -> Tensor:
        """-log of the share of words, one more of each being counted than was used: (members, n, latent)."""
        shares = (self.uses + 1) / (self.uses + 1).sum(-1, keepdim=True)
        each = words @ -shares.log().unsqueeze(-1) / GROUP
        return each.expand(-1, -1, -1, GROUP).transpose(1, 2).flatten(2)

    def posterior_of(self, numbers: Sequence[Tensor]) -> Posterior:
        (mean,) = numbers
        return WordPosterior.of(mean, self.rarity(self.words_of(mean)))

    def decode(self, z: Tensor) -> Any:
        """Of the nearest words; gradients pass them as if they were the numbers."""
        words = self.spoken(self.words_of(z))
        return super().decode(z + (words - z).detach())

    def loss_terms(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The second term is how far numbers are from their words, since their rarity has no gradient."""
        inputs = self.inputs(x)
        numbers = self.shown(inputs, generator).mean
        self.learn(numbers.detach(), generator)
        apart = numbers - self.spoken(self.words_of(numbers.detach()))
        return self.surprise(inputs, self.decode(numbers)).sum(-1), COMMITMENT * apart.square()

    @torch.no_grad()
    def learn(self, numbers: Tensor, generator: torch.Generator) -> None:
        """Move each word towards the numbers of a batch, (members, n, latent), that it is nearest to."""
        grouped, words, shape = self.grouped(numbers), self.words_of(numbers), self.uses.shape
        used = words.sum(2)
        uses = self.uses + PACE * (used - self.uses)
        sums = self.book * self.uses.unsqueeze(-1)
        sums = sums + PACE * (words.transpose(2, 3) @ grouped - sums)
        picked = torch.randint(grouped.shape[2], shape, generator=generator, device=numbers.device)
        fresh = grouped.gather(2, picked.unsqueeze(-1).expand(*shape, GROUP))
        dead = uses < DEAD
        self.book.copy_(torch.where(dead.unsqueeze(-1), fresh, sums / uses.clamp(min=DEAD).unsqueeze(-1)))
        self.uses.copy_(torch.where(dead, torch.ones_like(uses), uses))

    @torch.no_grad()
    def finish(self, x: Tensor) -> None:
        """Count how often fitting rows use each word."""
        parts = [self.words_of(self.posterior(rows).mean).sum(2) for rows in torch.split(x, 4096)]
        self.uses.copy_(torch.stack(parts).sum(0))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Words drawn one by one, as frequent as among the fitting rows: (members, count, latent)."""
        drawn = torch.multinomial((self.uses + 1).flatten(0, 1), count, replacement=True, generator=generator)
        words = nn.functional.one_hot(drawn, self.uses.shape[-1]).to(self.book.dtype)
        return self.spoken(words.reshape(self.members, self.groups, count, -1))


def whole_groups(latent: int) -> int:
    """The least number of a code's numbers that are whole groups, and no fewer than so many."""
    return GROUP * -(-latent // GROUP)


class TabularQuantiser(Quantiser, TabularVAE):
    """Of tables, trained on masked records as the variational one."""

    shape_type: ClassVar[type[msgspec.Struct]] = TabularWordShape

    @classmethod
    def untrained(cls, schema: Schema, sizes: Sizes) -> Self:
        sized = msgspec.structs.asdict(TabularVAE.untrained(schema, sizes).shape)
        return cls(TabularWordShape(**(sized | {"latent": whole_groups(sized["latent"])}), words=WORDS))


class PictureQuantiser(Quantiser, PictureVAE):
    """Of pictures."""

    shape_type: ClassVar[type[msgspec.Struct]] = PictureWordShape

    @classmethod
    def untrained(cls, schema: Schema, sizes: Sizes) -> Self:
        sized = msgspec.structs.asdict(PictureVAE.untrained(schema, sizes).shape)
        return cls(PictureWordShape(**(sized | {"latent": whole_groups(sized["latent"])}), words=WORDS))
