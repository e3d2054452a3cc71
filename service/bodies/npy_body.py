"""Pictures that come as one array, in NumPy's format npy."""

import math
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from kilter.service.bodies.body import too_many
from kilter.service.detector import PictureError
from kilter.service.detector.columns import ImageColumn
from kilter.service.detector.pictures.pixels import several
from kilter.service.problems import BAD_BODY, BAD_RECORDS, RequestError

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def pictures(content: bytes, column: ImageColumn, limit: int) -> npt.NDArray[Any]:
    """The pictures of an array, (n, h, w) or (n, h, w, c), each to be looked at yet.

    What the header says is compared with the length of the body before anything is made of it. Raises RequestError.
    """
    source = BytesIO(content)
    try:
        shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(source)](source)
    except Exception as error:  # a header is a literal of Python's, whose reader raises what it likes
        raise RequestError(BAD_BODY, f"the body is no npy file of version 1.0 or 2.0: {str(error)[:200]}") from None
    if dtype.kind not in "fiu" or min(shape, default=0) < 0:
        raise RequestError(BAD_BODY, f"the npy file holds {dtype} of shape {shape}: send numbers"[:300])
    start = source.tell()
    wanted = math.prod(shape) * dtype.itemsize
    if len(content) - start != wanted:
        raise RequestError(BAD_BODY, f"the npy file has {len(content) - start:,} bytes of values, and not {wanted:,}")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if fortran else "C")
    try:
        found = several(array, column)
    except PictureError as error:
        raise RequestError(BAD_RECORDS, str(error)) from None
    if len(found) > limit:
        raise too_many(limit)
    return found
