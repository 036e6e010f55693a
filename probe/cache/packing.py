"""Batches that fit into memory."""

from collections.abc import Iterator, Sequence


def packs(costs: Sequence[int], budget: int) -> Iterator[tuple[int, int]]:
    """Split ascending ``costs`` into runs [start, stop) that cost at most ``budget`` when padded.

    Every item of a run costs as much as its last, the largest. An item that alone costs more
    than the budget is a run of its own.
    """
    start = 0
    for stop in range(1, len(costs) + 1):
        if stop == len(costs) or (stop + 1 - start) * costs[stop] > budget:
            yield start, stop
            start = stop
