"""Fits the network by which synthetic records are drawn field by field; see `detector.generation.unmasking`.

Numbers that are close to one another are to be about as likely: the network sees and gives the codes of a field of
numbers by cosines of their rank, those of low frequency with the most weight, and each code by itself with little.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from kilter.service.detector.arrays import Floats, Matrix, Positions
from kilter.service.detector.errors import KilterError
from kilter.service.detector.generation.fields import FieldCodes
from kilter.service.detector.generation.unmasking import INPUTS, OUTPUT, UnmaskingShape
from kilter.training.fitting.programs import trace

HIDDEN = 128
MEMBERS = 2
BLOCKS = 2
DROPOUT = 0.1
COSINES = 16  # of a field of numbers
OWN = 0.3  # the weight of a code of numbers by itself; that of the first cosine is 1, as is that of a level
FEW = 4  # codes; fewer have no cosines
LOGIT = 30.0  # bound of a logit, so that a sum of exponentials needs no maximum taken out first
ABSENT = -1e4  # a logit of what there is not
STEPS = 3_000  # at most
BATCH = 256
WARM_UP = 50  # steps
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.02
CLIP_NORM = 10.0
AVERAGED = 0.99  # the weight of what was before in the moving average of the weights, which is what is kept
EVERY = 50  # steps from one look at the held-out rows to the next
PATIENCE = 5  # looks without a gain
LOOKED_AT = 2_000  # held-out rows, the same ones again with other fields hidden if there are fewer


class Basis(NamedTuple):
    """How the codes of all fields, one field after the other, have features in common."""

    own: Matrix
    """The weight of a code by itself, (codes,)."""
    waves: Matrix
    """The cosines of the codes of each field of numbers, (fields of numbers, most codes, COSINES); 0 where none are."""
    places: Positions
    """The places of the codes among these, (codes with cosines,), one field of numbers after the other, ..."""
    codes: Positions
    """... and which codes they are."""


def basis_of(fields: Sequence[FieldCodes]) -> Basis:
    """The basis of some fields: fields of few numbers have none in common."""
    own = np.ones(sum(field.shape.size for field in fields), np.float32)
    first = np.cumsum([0, *(field.shape.size for field in fields)])
    ordered = [(i, field.ranks) for i, field in enumerate(fields) if field.shape.known >= FEW]
    waving = [(i, ranks) for i, ranks in ordered if ranks is not None]
    most = max((len(ranks) for _, ranks in waving), default=0)
    waves = np.zeros((len(waving), most, COSINES), np.float32)
    places, codes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for row, (i, ranks) in enumerate(waving):
        known = len(ranks)
        own[first[i] : first[i] + known] = OWN
        frequency = np.arange(1, min(known - 1, COSINES) + 1)
        cosines = np.cos(np.pi * frequency * (ranks[:, None] + 0.5) / known) / np.sqrt(frequency)
        waves[row, :known, : len(frequency)] = cosines
        places.append(row * most + np.arange(known))
        codes.append(first[i] + np.arange(known))
    return Basis(own, waves, np.concatenate(places), np.concatenate(codes))


class CodeWeights(nn.Module):
    """Weights of all codes, (codes, units), that are alike where the codes' numbers are close to one another."""

    def __init__(self, basis: Basis, units: int, scale: float) -> None:
        super().__init__()
        self.own_weight, self.waves = (nn.Buffer(torch.from_numpy(part)) for part in (basis.own[:, None], basis.waves))
        self.places, self.codes = (nn.Buffer(torch.from_numpy(part)) for part in (basis.places, basis.codes))
        self.own = nn.Parameter(scale * torch.randn(len(basis.own), units))
        self.wave = nn.Parameter(scale * torch.randn(len(basis.waves), COSINES, units))

    def forward(self) -> Tensor:
        """(codes, units)."""
        own = self.own_weight * self.own
        if not len(self.places):
            return own
        shared = torch.bmm(self.waves, self.wave).flatten(0, 1)
        return own.index_add(0, self.codes, shared.index_select(0, self.places))


class UnmaskingNetwork(nn.Module):
    """The logits of every code of every field, given some of them: residual blocks over a sum of embeddings."""

    def __init__(self, basis: Basis, sizes: Sequence[int], marginal: Floats) -> None:
        """`sizes` are the numbers of the fields' codes, and `marginal` the share of each code."""
        super().__init__()
        codes, units = len(basis.own), MEMBERS * HIDDEN
        self.sizes = list(sizes)
        field = np.repeat(np.arange(len(sizes)), sizes)
        code = np.concatenate([np.arange(size) for size in sizes])
        # The slots of what is hidden follow those of the codes.
        self.slot_field = nn.Buffer(torch.from_numpy(np.concatenate([field, np.arange(len(sizes))])))
        self.slot_code = nn.Buffer(torch.from_numpy(np.concatenate([code, sizes])))
        self.group = nn.Buffer(torch.from_numpy((field[:, None] == np.arange(len(sizes))).astype(np.float32)))
        self.first = nn.Buffer(torch.from_numpy(np.cumsum([0, *sizes[:-1]])))
        scale, spread = 1 / math.sqrt(len(sizes)), 1 / math.sqrt(HIDDEN)
        self.given = CodeWeights(basis, units, scale)
        self.hidden = nn.Parameter(scale * torch.randn(len(sizes), units))
        self.inner, self.outer = (
            nn.ParameterList(nn.Parameter(part * spread * torch.randn(MEMBERS, HIDDEN, HIDDEN)) for _ in range(BLOCKS))
            for part in (1.0, 0.5)
        )
        self.inner_bias, self.outer_bias = (
            nn.ParameterList(nn.Parameter(torch.zeros(MEMBERS, 1, HIDDEN)) for _ in range(BLOCKS)) for _ in range(2)
        )
        self.last = CodeWeights(basis, units, 0.1 * spread)
        self.bias = nn.Parameter(torch.from_numpy(np.log(marginal)).float().expand(MEMBERS, 1, codes).clone())
        self.drop = nn.Dropout(DROPOUT)

    def see(self, codes: Tensor) -> Tensor:
        """What is known of records, (members, n, HIDDEN), by their codes, (n, fields): a hidden one is `sizes`."""
        hits = (codes.index_select(1, self.slot_field) == self.slot_code).to(self.hidden.dtype)
        table = torch.cat([self.given(), self.hidden])
        h = (hits @ table).reshape(-1, MEMBERS, HIDDEN).transpose(0, 1)
        parts = zip(self.inner, self.inner_bias, self.outer, self.outer_bias, strict=True)
        for inner, inner_bias, outer, outer_bias in parts:
            r = nn.functional.silu(nn.functional.layer_norm(h, (HIDDEN,)) @ inner + inner_bias)
            h = h + self.drop(r) @ outer + outer_bias
        seen: Tensor = self.drop(nn.functional.silu(nn.functional.layer_norm(h, (HIDDEN,))))
        return seen

    def weights(self) -> Tensor:
        """The last layer over the codes, (members, HIDDEN, codes)."""
        by_code: Tensor = self.last()
        return by_code.reshape(-1, MEMBERS, HIDDEN).permute(1, 2, 0)

    def surprise(self, codes: Tensor, mask: Tensor) -> Tensor:
        """-log p of each field's code given those that are not masked, (members, n, fields), in nats."""
        hidden = torch.tensor(self.sizes)
        logits = bounded(self.see(torch.where(mask, hidden, codes)) @ self.weights() + self.bias)
        own = (codes.clamp(min=0) + self.first).expand(MEMBERS, -1, -1)
        return (logits.exp() @ self.group).log() - logits.gather(-1, own)


class FieldChances(nn.Module):
    """The program of a generator: the chances of the codes of one field, averaged over members."""

    def __init__(self, network: UnmaskingNetwork) -> None:
        super().__init__()
        self.network = network
        widest = max(network.sizes)
        slot = network.first[:, None] + torch.arange(widest)
        self.there = nn.Buffer(torch.arange(widest) < torch.tensor(network.sizes)[:, None])
        self.slot = nn.Buffer(torch.where(self.there, slot, 0))
        self.last = nn.Buffer(network.weights().detach().clone())

    def forward(self, codes: Tensor, field: Tensor) -> Tensor:
        """(n, widest), of codes, (n, fields), and the position of a field, (1,)."""
        slot = self.slot.index_select(0, field).squeeze(0)
        weight, bias = self.last.index_select(2, slot), self.network.bias.index_select(2, slot)
        logits = bounded(self.network.see(codes) @ weight + bias)
        there = self.there.index_select(0, field)
        return torch.where(there, logits, ABSENT).softmax(-1).mean(0)


def bounded(logits: Tensor) -> Tensor:
    """Logits within bounds."""
    return logits.clamp(-LOGIT, LOGIT)


def fit_unmasking(fields: Sequence[FieldCodes], rows: Tensor, held_out: Tensor, seed: int) -> UnmaskingNetwork:
    """The network that is fitted to the codes of rows, (n, fields), and is the best on those that are held out.

    A random share of the fields of each is hidden, and counts as a mean over those that are: the order-agnostic bound
    of Uria, Murray and Larochelle, 2014. Raises KilterError if the fit diverges.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = [field.shape.size for field in fields]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UnmaskingNetwork(basis_of(fields), sizes, _shares(rows, sizes))
        averaged = UnmaskingNetwork(basis_of(fields), sizes, _shares(rows, sizes)).eval()
        averaged.load_state_dict(network.state_dict())
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98), fused=True
        )
        times = -(-LOOKED_AT // max(len(held_out), 1))
        looked = held_out.repeat(times, 1)[:LOOKED_AT]
        hidden = _hidden(looked, generator)
        counted = hidden & (looked >= 0)
        best, state, since = math.inf, averaged.state_dict(), 0
        for step in range(STEPS):
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARM_UP)
            batch = rows[torch.randint(len(rows), (min(BATCH, len(rows)),), generator=generator)]
            mask = _hidden(batch, generator)
            share = mask / mask.sum(1, keepdim=True).clamp(min=1)
            loss = (network.surprise(batch, mask) * share).sum(-1).mean(-1).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
            optimiser.step()
            with torch.no_grad():
                weight = max(1 - AVERAGED, 4 / (step + 4))
                torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), weight)
            if (step + 1) % EVERY:
                continue
            with torch.no_grad():
                surprise = -(-averaged.surprise(looked, hidden)).logsumexp(0) + math.log(MEMBERS)
                held = float((surprise * counted).sum() / counted.sum().clamp(min=1))
            if not math.isfinite(held):
                raise KilterError(f"the fit of the generator diverged at step {step + 1}: train without --generator")
            if held < best:
                best, since = held, 0
                state = {name: tensor.clone() for name, tensor in averaged.state_dict().items()}
            elif (since := since + 1) == PATIENCE:
                break
    averaged.load_state_dict(state)
    return averaged


def export_unmasking(network: UnmaskingNetwork, shape: UnmaskingShape) -> bytes:
    """The program of a generator."""
    codes = torch.tensor([[field.size for field in shape.fields]] * 3)
    example = dict(zip(INPUTS, (codes, torch.tensor([0])), strict=True))
    model = trace(FieldChances(network), example, [OUTPUT], INPUTS[1:])
    content: bytes = model.SerializeToString()
    return content


def _hidden(codes: Tensor, generator: torch.Generator) -> Tensor:
    """Which fields are hidden of each record: a share of them that is drawn from U(0, 1)."""
    share = torch.rand(len(codes), 1, generator=generator)
    return torch.rand(codes.shape, generator=generator) < share


def _shares(rows: Tensor, sizes: Sequence[int]) -> Floats:
    """The share of each code of each field, none of them 0, one field after the other."""
    counts = [np.bincount(rows[:, i], minlength=size) + 0.5 for i, size in enumerate(sizes)]
    return np.concatenate([count / count.sum() for count in counts])
