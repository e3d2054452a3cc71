"""The interface of a generator: what makes synthetic records of what was learned of the fitting rows."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
import numpy as np

from kilter.service.detector.arrays import Mask, Matrix
from kilter.service.detector.inputs import Table


class Generator(ABC):
    """See `generation`. A subclass is rebuilt from its part of a manifest, its tensors, and a program if it has one."""

    shape_type: ClassVar[type[msgspec.Struct]]
    """The part of a manifest that only the generator reads."""

    @abstractmethod
    def draw(
        self,
        count: int,
        rng: np.random.Generator,
        near: Table | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> Table:
        """So many records: all that there are, or such as lie `near` records drawn at random from some.

        `where` has cells that every record is to have, by the names of their columns, as JSON or a file has them.
        Raises KilterError for one that no record can have.
        """

    def were_fitted(self, figures: Matrix) -> tuple[Mask, Mask]:
        """Which records can be tested for being those that it was fitted to, and which are: (n,) each.

        By their watched figures, (n, ...). Records that are equal to such a one are such, too.
        """
        nothing = np.zeros(len(figures), bool)
        return nothing, nothing

    @abstractmethod
    def audit(self) -> None:
        """Raise ArtifactError if it does not fit the model, tried once."""
