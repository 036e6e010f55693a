"""Labels from recomputing: what may be learnt from, and above all what may not."""

import pytest
from recomputable import HYDROGEN, IMIDOGEN, NITROGEN, NITROGEN_LONG, OXYGEN, WATER, Library, done

from probe import schemas, tables
from probe.classifier import labels
from probe.dft import energies, recompute
from probe.dft.methods import B97_3C
from probe.recalibration import gains

RESERVED, FREE = "C#N", "N#N"


@pytest.fixture
def folder(tmp_path):
    assert labels.reserved(RESERVED)
    assert not labels.reserved(FREE)
    library = Library()
    first = library.add(FREE, NITROGEN, p=0.9)
    rows = [
        done(first, -2980.0),
        done(library.add(RESERVED, HYDROGEN, p=0.8), -32.0),
        done(library.add("O=O", OXYGEN, multiplicity=3), -4089.0),
        done(library.add("[NH]", IMIDOGEN), None),
    ]
    water, stretched = library.add("O", WATER), library.add("N#N", NITROGEN_LONG)
    folder = library.write(tmp_path / "lib")
    recompute.shards(folder, B97_3C, recompute.Settings())
    tables.write(recompute.shard_path(folder, 0), rows, schemas.COMPUTED, {})
    earlier = [done(stretched, -2979.0, method="wB97M-D3(BJ)/def2-TZVPP")]  # of another backbone
    tables.write(recompute.shard_path(folder, 7), earlier, schemas.COMPUTED, {})
    collected = [done(water, -2079.0, engine="ORCA")]
    tables.write(folder / energies.COLLECTED, collected, schemas.COMPUTED, {})
    return folder


def test_a_label_is_what_train_reads(folder, tmp_path):
    gains.labels(folder, tmp_path / "labels.parquet")
    found = labels.read(tmp_path / "labels.parquet")
    assert found.smiles == (FREE,)
    assert found.energy_ev.tolist() == [-2980.0]
    assert found.geometries[0].numbers.tolist() == NITROGEN[0]


def test_what_is_none_is_counted_by_the_reason(folder, tmp_path):
    assert gains.labels(folder, tmp_path / "labels.parquet") == {
        **{"labels": 1, "no energy": 1, "open shell": 1, "no SMILES": 0},
        **{"another program": 1, "another method": 1, "reserved": 1},
    }


def test_a_reserved_molecule_written_otherwise_is_reserved(tmp_path):
    library = Library()
    other = library.add("N#C", HYDROGEN)
    folder = library.write(tmp_path / "lib")
    recompute.shards(folder, B97_3C, recompute.Settings())
    tables.write(recompute.shard_path(folder, 0), [done(other, -32.0)], schemas.COMPUTED, {})
    assert gains.labels(folder, tmp_path / "labels.parquet")["reserved"] == 1


def test_a_budget_too_small_for_one_conformer_leaves_no_labels(tmp_path):
    library = Library()
    library.add(FREE, NITROGEN, p=0.9)
    folder = library.write(tmp_path / "lib")
    recompute.shards(folder, B97_3C, recompute.Settings(budget_core_hours=1e-9))
    assert gains.labels(folder, tmp_path / "labels.parquet")["labels"] == 0
    assert tables.read(tmp_path / "labels.parquet", schemas.REFERENCES).num_rows == 0
