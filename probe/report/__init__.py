"""The self-contained HTML report of a screened library."""
