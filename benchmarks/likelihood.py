"""Likelihood of MNIST: Kilter's Bernoulli model beside two textbook networks on the same binarised images.

9,000 of the 10,000 images are fitted and 1,000 tested; each pixel is black or white, once and for all, with its grey
value as the chance. Beside `--model binary-vae`, trained by Kilter's own loop:

- *plain*: 784-256-16 with ReLU and binary cross-entropy, five epochs of Adam in batches of 128: the usual tutorial;
- *IWAE*: two layers of 200 tanh units each way and 50 latent dimensions (Burda et al., 2016), fitted with k = 1 and
  k = 50 draws, Adam at 1e-3 falling to 1e-4. 500 of the images are held out, and of ten looks the best is kept, since
  so many epochs would overfit 9,000 images.

All are measured by one function: the negative ELBO, and the importance-weighted bound by 1, 10, 100 and more draws.

    python -m benchmarks.likelihood --mnist DIR [--steps N] [--epochs N] [--test N] [--draws 1 10 100 1000 5000]

Prints Markdown.
"""

import argparse
import gzip
import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.clock import Matrix
from benchmarks.machine import described
from benchmarks.markdown import number, table
from kilter.service.detector.networks.base import Network, Posterior
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.fitting.fit import fit

FITTED = 9_000
CHUNK = 50  # images whose draws are made at once
HELD_OUT = 500
LOOKS = 10  # at images that are held out, in a fit


class Textbook(nn.Module):
    """A variational autoencoder of equal layers each way, with a Bernoulli likelihood."""

    def __init__(self, hidden: Sequence[int], latent: int, activation: type[nn.Module]) -> None:
        super().__init__()
        sizes = [784, *hidden]
        down = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), activation())]
        sizes = [latent, *reversed(hidden)]
        up = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), activation())]
        self.encoder = nn.Sequential(*down, nn.Linear(hidden[-1], 2 * latent))
        self.decoder = nn.Sequential(*up, nn.Linear(hidden[0], 784))

    def encode(self, x: Tensor) -> Posterior:
        mean, log_variance = self.encoder(x).unsqueeze(0).chunk(2, dim=-1)
        return Posterior(mean, log_variance)

    def log_weights(self, x: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """log p(x, z) / q(z | x) of so many draws of each image, (draws, n)."""
        posterior = Posterior(*(part.expand(draws, -1, -1) for part in self.encode(x)))
        z = posterior.draw(generator)
        surprise = functional.binary_cross_entropy_with_logits(
            self.decoder(z), x.expand(draws, -1, -1), reduction="none"
        )
        standard = (z - posterior.mean).square() * (-posterior.log_variance).exp()
        excess = 0.5 * (z.square() - standard - posterior.log_variance).sum(-1)
        return -surprise.sum(-1) - excess


def taught(model: Textbook, x: Tensor, epochs: int, batch: int, draws: int, rates: tuple[float, float]) -> Textbook:
    """The model fitted to rows by so many draws, its learning rate falling from one to the other.

    That is kept whose bound by so many draws is best on the last `HELD_OUT` of the rows, to which none is fitted.
    """
    x, held = x[:-HELD_OUT], x[-HELD_OUT:]
    best, kept = math.inf, model.state_dict()
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=rates[0], eps=1e-4)
    fall = torch.optim.lr_scheduler.ExponentialLR(optimiser, (rates[1] / rates[0]) ** (1 / max(epochs, 1)))
    for epoch in range(1, epochs + 1):
        for rows in torch.split(torch.randperm(len(x), generator=generator), batch):
            weights = model.log_weights(x[rows], draws, generator)
            loss = -(weights.logsumexp(0) - math.log(draws)).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        fall.step()
        if epoch % max(epochs // LOOKS, 1) == 0 and (bound := bounds(model, held, [draws])[-1]) < best:
            best, kept = bound, {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(kept)
    return model.eval()


class Ours(Textbook):
    """Kilter's network, measured as the others are."""

    def __init__(self, network: Network) -> None:
        nn.Module.__init__(self)
        self.network = network

    def encode(self, x: Tensor) -> Posterior:
        return self.network.posterior(x)

    def log_weights(self, x: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        inputs = self.network.inputs(x)
        posterior = self.network.encode(inputs)
        parts = []
        for _ in range(draws):
            z = posterior.draw(generator)
            surprise = self.network.surprise(inputs, self.network.decode(z)).sum(-1)
            parts.append((-surprise - posterior.excess(z).float())[0])
        return torch.stack(parts)


@torch.no_grad()
def bounds(model: Textbook, x: Tensor, draws: Sequence[int]) -> list[float]:
    """The negative ELBO, and minus the bound by each number of draws, in nats: means over rows, of the same draws."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.cat(
        [model.log_weights(part, max(draws), generator) for part in torch.split(x, CHUNK)], dim=1
    ).double()
    found = [-float(weights.mean())]
    for count in draws:
        groups = weights[: max(draws) // count * count].reshape(-1, count, weights.shape[1])
        found.append(-float((groups.logsumexp(1) - math.log(count)).mean()))
    return found


def images(folder: Path) -> Matrix:
    """All images, (10,000, 784), black and white by their grey values as chances; the seed is fixed."""
    grey = np.frombuffer(gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    white = np.random.default_rng(0).random(len(grey)) < grey / 255
    rows = white.astype(np.float32).reshape(-1, 784)
    return rows[np.random.default_rng(1).permutation(len(rows))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20_000, help="of Kilter's fit")
    parser.add_argument("--epochs", type=int, default=400, help="of the IWAE with k = 1; with k = 50 a quarter as many")
    parser.add_argument("--test", type=int, default=1_000)
    parser.add_argument("--draws", type=int, nargs="+", default=[1, 10, 100, 1000, 5000])
    options = parser.parse_args()
    torch.set_num_threads(1)
    x = images(options.mnist)
    train, test = torch.from_numpy(x[:FITTED]), torch.from_numpy(x[FITTED : FITTED + options.test])
    schema = Schema((ImageColumn("image", 28, 28, 1),), rows=FITTED)
    config = FitConfig(model="binary-vae", steps=options.steps, hidden=256, latent=32, patience=10, warm_up=0.1)
    epochs = options.epochs
    ways: dict[str, Callable[[], Textbook]] = {
        "plain 784-256-16, 5 epochs": lambda: taught(Textbook([256], 16, nn.ReLU), train, 5, 128, 1, (1e-3, 1e-3)),
        f"IWAE, k = 1, {epochs} epochs": lambda: taught(
            Textbook([200, 200], 50, nn.Tanh), train, epochs, 100, 1, (1e-3, 1e-4)
        ),
        f"IWAE, k = 50, {epochs // 4} epochs": lambda: taught(
            Textbook([200, 200], 50, nn.Tanh), train, epochs // 4, 100, 50, (1e-3, 1e-4)
        ),
        f"Kilter, binary-vae, {options.steps:,} steps": lambda: Ours(fit(x[:FITTED], schema, config, seed=0)[0]),
    }
    rows = []
    for name, way in ways.items():
        torch.manual_seed(0)
        began = time.process_time()
        model = way()
        spent = time.process_time() - began
        found = bounds(model, test, options.draws)
        rows.append([name, *(number(value, 2) for value in found), number(spent, 0)])
        print(name, *rows[-1][1:], flush=True)
    print("\n" + table(["", "negative ELBO", *(f"k = {count:,}" for count in options.draws), "CPU s"], rows))
    print(f"\nNats per image, {len(test):,} test images. {described()}")


if __name__ == "__main__":
    main()
