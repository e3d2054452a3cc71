"""Synthetic records: what makes them of what was learned of the fitting rows, by the kinds of records.

`open_generator` gives the generator of an artifact, and `generate` is the one way to records of it, or of the prior
N(0, I), which every model with a latent space has.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats
from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.generation.base import Generator
from kilter.service.detector.generation.mixture import CodeMixture, MixtureShape
from kilter.service.detector.generation.unmasking import UnmaskingGenerator, UnmaskingShape
from kilter.service.detector.inputs import Table
from kilter.service.detector.latent import LatentSpace
from kilter.service.detector.manifest import Manifest

__all__ = ["PROGRAM", "Generator", "Prior", "generate", "open_generator"]

PROGRAM = "unmask"
"""The name of the program of a generator that has one."""
MOST = 1_000_000  # records that are made at once
Prior = Literal["learned", "standard"]


def open_generator(
    manifest: Manifest, latent: LatentSpace, tensors: Mapping[str, Array], programs: Mapping[str, bytes]
) -> Generator | None:
    """The generator of an artifact, audited; None if it has none. Raises ArtifactError if it is damaged."""
    entry = manifest.generator
    if entry is None:
        return None
    made: Generator
    try:
        if entry.kind == "mixture":
            made = CodeMixture(latent, msgspec.convert(entry.shape, MixtureShape), tensors)
        elif entry.kind == "unmasking" and PROGRAM in programs:
            shape = msgspec.convert(entry.shape, UnmaskingShape)
            made = UnmaskingGenerator(manifest.schema, shape, tensors, programs[PROGRAM])
        else:
            raise ArtifactError(f"this version knows no generator of kind {entry.kind!r} with such programs")
    except msgspec.ValidationError as error:
        raise ArtifactError(f"the generator: {error}") from None
    made.audit()
    return made


def generate(
    latent: LatentSpace,
    generator: Generator | None,
    count: int,
    rng: np.random.Generator,
    *,
    near: Table | None = None,
    where: Mapping[str, Any] | None = None,
    prior: str = "learned",
) -> Table:
    """So many synthetic records of a model.

    By the `learned` prior as `Generator.draw` makes them; by the `standard` one, codes are drawn from N(0, I), and
    values of tables from the likelihood. Raises KilterError for what the model cannot do.
    """
    if prior not in ("learned", "standard"):
        raise KilterError(f"the prior is learned or standard, not {prior!r}")
    if not 1 <= count <= MOST:
        raise KilterError(f"{count:,} records are asked for, and from 1 to {MOST:,} are made at once")
    if prior == "learned":
        if generator is None:
            raise KilterError(
                f"{latent.model} was trained without a generator: train it again with --generator, or take the prior "
                "standard"
            )
        return generator.draw(count, rng, near, where)
    if near is not None or where:
        raise KilterError("what records are to be near to, and what they are to have, goes with the prior learned")
    latent.check_prior()
    codes: Floats = rng.standard_normal((count, latent.size))
    if not latent.beside:
        return latent.decode(codes, rng if latent.draws and not latent.modality.decodes else None)
    if not isinstance(generator, CodeMixture):
        raise KilterError(
            f"the light of pictures is kept with a generator: train {latent.model} again with --generator"
        )
    codes[:, -latent.beside :] = generator.codes(count, rng)[:, -latent.beside :]
    return latent.decode(codes)
