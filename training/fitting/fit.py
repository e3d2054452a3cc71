"""Fits a network: KL warm-up, one cycle of the learning rate, early stopping on the held-out ELBO.

The state of a fit is saved as it goes, so that one that was interrupted is taken up where it was.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from kilter.service.detector.arrays import Matrix, Positions
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import Epoch
from kilter.service.detector.leftovers import scratch_folder
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.networks import network_class
from kilter.service.detector.networks.base import Network
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig

FitProgress = Callable[[int, int, Epoch | None], None]
"""Called after each step with its number, the most steps that there may be, and an `Epoch` at each evaluation."""
FOLDS = 5  # each member of the network is blind to one fold of this many
HELD_OUT_ROWS = 1024  # most rows of a fold on which the held-out ELBO is taken
_HEAD = ("step", "best_step", "since")


@dataclass
class FitState:
    """All of a fit that changes, and that a checkpoint holds."""

    network: Network
    optimiser: torch.optim.AdamW
    generator: torch.Generator
    step: int = 0
    best_step: int = 0
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    since: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Sums of loss, reconstruction and KL since the last evaluation."""


def fit(
    x: Matrix,
    schema: Schema,
    config: FitConfig,
    seed: int,
    device: str = "cpu",
    checkpoint: Path | None = None,
    progress: FitProgress = lambda step, steps, epoch: None,
    entities: Positions | None = None,
) -> tuple[Network, list[Epoch]]:
    """Fit a network to the encoded rows x, float32 (n, features), and return it with its history.

    Rows with one number in `entities`, (n,), are held out together.
    The same seed, data, device and number of threads give the same weights; so does a fit that was interrupted and
    taken up again from `checkpoint`. A network without parameters was fitted at its start, and has no history. Raises
    KilterError if the network is not for such rows, or the fit diverges.
    """
    torch.set_num_threads(config.threads)
    network = untrained(x, schema, config, seed).to(device)
    if not list(network.parameters()):
        return network.eval(), []
    rows = torch.from_numpy(x).to(device)
    decayed = [p for p in network.parameters() if p.dim() > 1 and p.shape[1] > 1]
    plain = [p for p in network.parameters() if not (p.dim() > 1 and p.shape[1] > 1)]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)
    state = FitState(network, optimiser, torch.Generator(device).manual_seed(seed))
    seen, held_out = folds(len(x), config.members, seed, entities)
    digest = fingerprint(x, network.shape, config, seed, device, entities) if checkpoint else ""
    if checkpoint:
        restore_checkpoint(checkpoint, state, digest)
    every = max(config.steps // 30, 10)
    while state.step < config.steps and not stopped(state, config):
        train_step(state, rows, seen, config)
        epoch = (
            note_epoch(state, rows, held_out, config) if state.step % every == 0 or state.step == config.steps else None
        )
        progress(state.step, config.steps, epoch)
        if checkpoint and epoch:
            save_checkpoint(checkpoint, state, digest)
    network.load_state_dict(state.best)
    network.eval().finish(rows)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return network, state.history


def untrained(x: Matrix, schema: Schema, config: FitConfig, seed: int) -> Network:
    """The network of a schema, not yet fitted to the encoded rows x, (n, width)."""
    modality = modality_of(schema).name
    kind = config.network_of(modality)
    network_type = network_class(kind)
    if network_type.modality != modality:
        raise KilterError(
            f"fit.network {kind!r} is for the modality {network_type.modality!r}, and the data is {modality!r}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = network_type.untrained(schema, config)
    network.start(schema, torch.from_numpy(x))
    return network


def folds(
    rows: int, members: int, seed: int, entities: Positions | None = None
) -> tuple[list[Positions], list[Positions]]:
    """For each member the positions of the rows that it fits, and of those that it is blind to.

    Rows with one number in `entities`, (rows,), lie in one fold.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(rows)
    parts = np.array_split(order, FOLDS)
    if entities is not None:
        which = np.unique(entities, return_inverse=True)[1]
        fold = rng.permutation(int(which.max()) + 1)[which[order]] % FOLDS
        parts = [order[fold == number] for number in range(FOLDS)]
    held_out = [parts[member % FOLDS] for member in range(members)]
    seen = [np.concatenate([part for i, part in enumerate(parts) if i != member % FOLDS]) for member in range(members)]
    return seen, held_out


def stopped(state: FitState, config: FitConfig) -> bool:
    """Whether the held-out ELBO has not improved for as long as is allowed, once the KL weight has risen for good."""
    risen = int((config.cycles - 1 + config.warm_up) * config.steps / config.cycles)
    warm = max(risen, state.network.least_steps)
    late = [epoch for epoch in state.history if epoch.step > max(warm, state.best_step)]
    return state.step > warm and len(late) >= config.patience


def kl_weight(step: int, config: FitConfig) -> float:
    """The weight of the KL term: in each cycle it rises from 0 over the warm-up, and stays (Fu et al., 2019)."""
    cycle = config.steps / config.cycles
    return config.kl_weight * min(1.0, (step % cycle + 1) / max(config.warm_up * cycle, 1.0))


def learning_rate(step: int, config: FitConfig) -> float:
    """One cycle: a cosine up over the warm-up, and one down to 0 over the rest (Smith and Topin, 2018)."""
    rise = max(config.warm_up * config.steps, 1.0)
    if step < rise:
        return config.learning_rate * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / rise)))
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(config.steps - rise, 1.0)))


def train_step(state: FitState, rows: Tensor, seen: list[Positions], config: FitConfig) -> None:
    """One step of AdamW on a batch for each member."""
    network, generator = state.network, state.generator
    size = min(config.batch_rows or network.batch_rows, min(map(len, seen)))
    picked = [
        torch.from_numpy(part)[torch.randint(len(part), (size,), generator=generator, device=rows.device).cpu()]
        for part in seen
    ]
    beta = kl_weight(state.step, config)
    surprise, kl_by_record = network.loss_terms(rows[torch.stack(picked).to(rows.device)], generator)
    reconstruction, kl = surprise.mean(-1), kl_by_record.mean(1)
    # A dimension's first nats are free, so that it is used before it has to pay (Kingma et al., 2016).
    loss = reconstruction + beta * kl.clamp(min=config.free_bits).sum(-1)
    state.optimiser.zero_grad(set_to_none=True)
    (loss.sum() / math.sqrt(network.values)).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(state.step, config)
    state.optimiser.step()
    state.step += 1
    for i, term in enumerate((loss, reconstruction, kl.sum(-1))):
        state.since[i] += float(term.detach().mean())


def note_epoch(state: FitState, rows: Tensor, held_out: list[Positions], config: FitConfig) -> Epoch:
    """Take the held-out ELBO, note it in the history, and keep the network if it is, but for its `allowance`, the best
    so far."""
    network, beta = state.network, config.kl_weight
    size = min(HELD_OUT_ROWS, min(map(len, held_out)))
    network.eval()
    with torch.no_grad():
        inputs = network.inputs(rows[torch.from_numpy(np.stack([part[:size] for part in held_out])).to(rows.device)])
        posterior = network.encode(inputs)
        elbo = -network.negative_elbo(inputs, posterior, posterior.mean).mean()
        held_out_kl = float(posterior.kl().mean())
    network.train()
    steps = state.step - (state.history[-1].step if state.history else 0)
    loss, reconstruction, kl = (total / steps for total in state.since)
    epoch = Epoch(state.step, loss, reconstruction, kl, float(elbo), held_out_kl)
    if not math.isfinite(epoch.held_out_elbo):
        raise KilterError(f"the fit diverged at step {state.step}: try a smaller fit.learning_rate")
    best = max((earlier.objective(beta) for earlier in state.history), default=-math.inf)
    if not state.best or epoch.objective(beta) > best - network.allowance:
        state.best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        state.best_step = state.step
    state.history.append(epoch)
    state.since = [0.0, 0.0, 0.0]
    return epoch


def fingerprint(
    x: Matrix, shape: msgspec.Struct, config: FitConfig, seed: int, device: str, entities: Positions | None = None
) -> str:
    """A digest of all that decides a fit: only a fit with the same one is taken up again."""
    digest = hashlib.sha256(np.ascontiguousarray(x).tobytes())
    digest.update(b"" if entities is None else entities.tobytes())
    digest.update(msgspec.json.encode([shape, config, seed, device, str(torch.__version__)]))
    return digest.hexdigest()


def save_checkpoint(path: Path, state: FitState, digest: str) -> None:
    """Write the state, whole or not at all: tensors, and a JSON header in safetensors' metadata.

    Raises KilterError if it cannot be written.
    """
    tensors = {"generator": state.generator.get_state()}
    tensors |= {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    for number, values in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in values.items()}
    head = {name: getattr(state, name) for name in _HEAD}
    head |= {"history": msgspec.to_builtins(state.history), "fingerprint": digest}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = save({name: t.contiguous().clone() for name, t in tensors.items()}, {"head": json.dumps(head)})
    try:
        with scratch_folder(path.parent, f"{path.stem}.partial-") as folder:
            (folder / path.name).write_bytes(content)
            (folder / path.name).replace(path)
    except OSError as error:
        raise KilterError(f"cannot write the checkpoint {path}: {error.strerror or error}") from error


def restore_checkpoint(path: Path, state: FitState, digest: str) -> None:
    """Take up the saved state if there is one, undamaged and of this very fit."""
    try:
        with safe_open(path, framework="pt") as file:
            head = json.loads(file.metadata()["head"])
            if head["fingerprint"] != digest:
                return
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}}
    saved = state.optimiser.state_dict()
    saved["state"] = {}
    state.generator.set_state(tensors.pop("generator"))
    for name, tensor in tensors.items():
        part, key = name.split(".", 1)
        if part == "optimiser":
            number, key = key.split(".", 1)
            saved["state"].setdefault(int(number), {})[key] = tensor
        else:
            parts[part][key] = tensor
    state.network.load_state_dict(parts["network"])
    state.optimiser.load_state_dict(saved)
    state.best, state.history = parts["best"], msgspec.convert(head["history"], list[Epoch])
    for name in _HEAD:
        setattr(state, name, head[name])
