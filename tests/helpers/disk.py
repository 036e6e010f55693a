"""A disk that is full."""

import resource
from contextlib import contextmanager


@contextmanager
def full(at):
    """Within, no file of this process grows beyond ``at`` bytes; EFBIG stands for ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
