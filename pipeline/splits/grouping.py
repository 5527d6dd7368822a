"""Patches that share an event stay together: of each such group one split is kept."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.splits.blocks import BUFFER, Codes


def keep_together(codes: Codes, *, patches: ArrayLike, keys: ArrayLike) -> Codes:
    """Return splits in which patches that share a key are in one split, or in the buffer.

    Patches are grouped through shared keys, those in the buffer left aside. Of each group the strongest split is kept;
    its patches of other splits go to the buffer.

    Parameters
    ----------
    codes : int8 (patch)
        Index into `blocks.SPLITS`.
    patches, keys : int and str, same length
        Pairs of a patch's index and a key that it has, such as an event's name.
    """
    rows = np.asarray(patches, np.int64)
    names = np.asarray(keys, np.object_)
    used = codes[rows] != BUFFER
    rows, names = rows[used], names[used]
    if not rows.size:
        return codes.copy()
    groups = _groups(rows, names, len(codes))
    strongest = np.zeros(int(groups.max()) + 1, np.int8)
    np.maximum.at(strongest, groups, codes)
    return np.where(codes < strongest[groups], BUFFER, codes).astype(np.int8)


def _groups(rows: NDArray[np.int64], names: NDArray[np.object_], patches: int) -> NDArray[np.int64]:
    keys, distinct = pd.factorize(names)
    size = patches + len(distinct)
    links = coo_array((np.ones(len(rows), np.int8), (rows, patches + keys)), shape=(size, size))
    _, labels = connected_components(links, directed=False)
    return np.asarray(labels[:patches], np.int64)
