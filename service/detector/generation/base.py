"""The interface of a generator: what makes synthetic records of what was learned of the fitting rows."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
import numpy as np

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

    @abstractmethod
    def audit(self) -> None:
        """Raise ArtifactError if it does not fit the model, tried once."""
