"""A screening that several test modules look at."""

import pytest
import repository
from small_library import RECORDS


@pytest.fixture(scope="session")
def screened(aimnet_file, tmp_path_factory):
    """A repository whose table names a small library of two shards, and one of no records.

    A bare `snakemake --cores 2` has screened both; the fixture is the folder and what it said.
    More molecules of an element are demanded than the calibration set has with arsenic.
    """
    assert aimnet_file.is_file()
    root = tmp_path_factory.mktemp("workflow") / "repository"
    repository.copy(root)
    (root / "small.smi").write_text("".join(RECORDS))
    (root / "empty.smi").touch()
    rows = ("library\tpath", "small\tsmall.smi", "empty\tempty.smi", "")
    (root / "config/libraries.tsv").write_text("\n".join(rows))
    config = root / "config/config.yaml"
    text = config.read_text()
    for before, after in (
        ("shard_size: 25000", "shard_size: 7"),
        ("min_element_molecules: 20", "min_element_molecules: 60"),
    ):
        assert before in text
        text = text.replace(before, after)
    config.write_text(text)
    run = repository.snakemake(root, "--cores", "2")
    assert run.returncode == 0, run.stdout[-10_000:]
    return root, run.stdout


@pytest.fixture(scope="session")
def root(screened):
    return screened[0]
