"""What a user did or has that stops a command: printed as one line, exit code 2."""


class ProbeError(Exception):
    """One line that says what is wrong, where (file and record), and what to do."""
