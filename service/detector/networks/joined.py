"""The members of a network as one, and what they expect, for a score that has to be fast."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kilter.service.detector.networks.base import observed

if TYPE_CHECKING:
    from kilter.service.detector.networks.tabular import TabularVAE

RIDGE = 1e-3
CHUNK = 4096


class Joined(nn.Module):
    """Posterior means, and the expectation of every dense feature, at the cost of a few matrix products.

    Members stand side by side in block-diagonal layers. What their decoders expect, a mean over members and mixtures,
    is read off their last hidden layers by one linear map that was fitted to it.
    """

    def __init__(self, network: "TabularVAE") -> None:
        super().__init__()
        shape, dense = network.shape, len(network.dense_feature)
        hidden, latent = shape.members * shape.hidden, shape.members * shape.latent
        self.readout = nn.Buffer(torch.zeros(hidden + 1, dense))  # the last row is a bias
        sizes = {"encoder": (dense + len(shape.features), hidden, hidden, latent), "decoder": (latent, hidden, hidden)}
        self._sizes = {name: len(widths) - 1 for name, widths in sizes.items()}
        for name, widths in sizes.items():
            for i, (inputs, outputs) in enumerate(pairwise(widths)):
                self.register_buffer(f"{name}_weight_{i}", torch.zeros(inputs, outputs), persistent=False)
                self.register_buffer(f"{name}_bias_{i}", torch.zeros(outputs), persistent=False)

    def index(self, network: Any) -> None:
        """Take over the weights of the network, a `TabularVAE`."""
        dense = self.readout.shape[1]
        for name, layers in (("encoder", network.encoder), ("decoder", network.decoder)):
            for i in range(self._sizes[name]):
                weight, bias = layers.weights[i].detach(), layers.biases[i].detach()
                if (name, i) == ("encoder", 2):  # the means of the posterior alone
                    weight, bias = weight[..., : network.latent], bias[..., : network.latent]
                bias = bias.flatten()
                if (name, i) == ("encoder", 0):  # each member sees the same record, and later what it made of that
                    # What may not be looked at is 1 in the network's mask, and 0 in what is observed.
                    joined = torch.cat([*weight], dim=1)
                    bias = bias + joined[dense:].sum(0)
                    joined = torch.cat([joined[:dense], -joined[dense:]])
                else:
                    joined = torch.block_diag(*weight)  # type: ignore[no-untyped-call]
                getattr(self, f"{name}_weight_{i}").copy_(joined)
                getattr(self, f"{name}_bias_{i}").copy_(bias)

    def _run(self, name: str, h: Tensor, last: bool) -> Tensor:
        """Run the layers of a part, the last of them with an activation if `last`."""
        count = self._sizes[name]
        for i in range(count):
            h = torch.addmm(getattr(self, f"{name}_bias_{i}"), h, getattr(self, f"{name}_weight_{i}"))
            if i + 1 < count or last:
                h = h * torch.sigmoid(h)
        return h

    def hidden(self, dense: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior means, (n, members latent), and the decoders' last hidden layers, (n, members hidden)."""
        means = self._run("encoder", torch.cat([dense, seen], dim=-1), last=False)
        return means, self._run("decoder", means, last=True)

    def forward(self, dense: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior means, and what is expected of each dense feature, (n, dense).

        For dense features, (n, dense), 0 where they are not `seen`, (n, features).
        """
        means, hidden = self.hidden(dense, seen)
        return means, torch.addmm(self.readout[-1], hidden, self.readout[:-1])

    def fit(self, network: Any, rows: Tensor) -> None:
        """Fit the readout to what the network expects of encoded rows, (n, features): ridge regression."""
        self.index(network)
        parts = [
            (self.hidden(network.dense(part), observed(part))[1], network.expected_dense(network.infer(part)[2]))
            for part in torch.split(rows, CHUNK)
        ]
        hidden, expected = (torch.cat(values).double() for values in zip(*parts, strict=True))
        center, spread = hidden.mean(0), hidden.std(0).clamp(min=1e-4)
        mean = expected.mean(0)
        standard = (hidden - center) / spread
        ridge = RIDGE * len(rows) * torch.eye(standard.shape[1], dtype=torch.float64)
        slope = torch.linalg.solve(standard.T @ standard + ridge, standard.T @ (expected - mean)) / spread[:, None]
        self.readout.copy_(torch.cat([slope, (mean - center @ slope)[None]]))
