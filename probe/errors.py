"""What a user did or has that stops a command: printed as one line, exit code 2."""


class ProbeError(Exception):
    """One line that says what is wrong, where (file and record), and what to do."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether ``error`` is want of memory; torch raises a RuntimeError for it."""
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("out of memory", "allocate memory")
    )
