"""The table that `probe label` writes."""

from probe import schemas, tables


def rows(out):
    return tables.read(out, schemas.REFERENCES).to_pylist()
