"""What the page's scripts read in pieces: compressed text that cannot outgrow the page."""

import base64
import gzip
import json
from collections.abc import Iterable
from itertools import islice


def pack(value: object) -> str:
    """``value`` as base64 of compressed JSON."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(text, compresslevel=9, mtime=0)).decode()


def pieces(values: Iterable[object], size: int, budget: int) -> list[str]:
    """``values`` packed ``size`` at a time, as many as fit into ``budget`` characters."""
    packed: list[str] = []
    left = iter(values)
    while batch := list(islice(left, size)):
        piece = pack(batch)
        budget -= len(piece)
        if budget < 0:
            break
        packed.append(piece)
    return packed
