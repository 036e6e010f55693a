"""Conformers: from a record to a row of the conformer table."""
