"""Labelled sets: strict where they enter, the same ids as a library gives, a reserved fifth."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probe import schemas, tables
from probe.classifier import labels
from probe.conformers.conformer import conformer_id
from probe.errors import ProbeError
from probe.weights import RESOURCES

WATER = {
    "smiles": "O",
    "source": "made",
    "geometry": "made",
    "numbers": [8, 1, 1],
    "positions": [0.0, 0.0, 0.0, 0.96, 0.0, 0.0, -0.24, 0.93, 0.0],
    "charge": 0,
    "energy_ev": -2079.1,
}
AMMONIUM = {
    "smiles": "[NH4+]",
    "source": "made",
    "geometry": "made",
    "numbers": [7, 1, 1, 1, 1],
    "positions": [0, 0, 0, 0.6, 0.6, 0.6, -0.6, -0.6, 0.6, -0.6, 0.6, -0.6, 0.6, -0.6, -0.6],
    "charge": 1,
    "energy_ev": -1550.2,
}
TYPES = {
    "numbers": pa.list_(pa.uint8()),
    "positions": pa.list_(pa.float64()),
    "charge": pa.int8(),
    "energy_ev": pa.float64(),
}


@pytest.fixture
def write(tmp_path):
    """Writes rows to a Parquet file and returns its path."""

    def writer(*rows, drop=()):
        names = [name for name in WATER if name not in drop]
        columns = {
            name: pa.array([row[name] for row in rows], TYPES.get(name, pa.string()))
            for name in names
        }
        path = tmp_path / "labels.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    return writer


class TestRead:
    def test_rows_become_geometries_with_their_energies(self, write):
        found = labels.read(write(WATER, AMMONIUM))
        assert len(found) == 2
        assert found.smiles == ("O", "[NH4+]")
        assert found.energy_ev.tolist() == [-2079.1, -1550.2]
        assert [g.charge for g in found.geometries] == [0, 1]
        assert found.geometries[1].numbers.tolist() == [7, 1, 1, 1, 1]
        assert found.geometries[0].positions.tolist() == [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]

    def test_the_file_is_remembered_by_its_digest(self, write):
        path = write(WATER)
        assert labels.read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_ids_are_those_of_a_library(self, write):
        found = labels.read(write(WATER, AMMONIUM))
        expected = conformer_id([8, 1, 1], np.reshape(WATER["positions"], (3, 3)), 0, 1)
        assert found.conformer_ids[0] == expected
        assert found.conformer_ids[0] != found.conformer_ids[1]

    def test_coordinates_are_rounded_as_at_ingest(self, write):
        shifted = WATER | {"positions": [x + 3e-5 for x in WATER["positions"]]}
        first, second = labels.read(write(WATER, shifted)).conformer_ids
        assert first == second

    def test_further_columns_do_not_matter(self, calibration):
        n_rows = pq.ParquetFile(RESOURCES / "calibration" / "b973c.parquet").metadata.num_rows
        assert len(calibration) == len(set(calibration.conformer_ids)) == n_rows


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"energy_ev": None}, "has no energy_ev"),
            ({"energy_ev": float("nan")}, "has a reference energy that is not a number"),
            ({"energy_ev": float("inf")}, "has a reference energy that is not a number"),
            ({"smiles": None}, "has no smiles"),
            ({"charge": None}, "has no charge"),
            ({"positions": None}, "has no positions"),
            ({"positions": WATER["positions"][:-1]}, "has 3 atoms and 8 coordinates"),
            ({"positions": [None, *WATER["positions"][1:]]}, "a coordinate that is not a number"),
            ({"positions": [np.nan, *WATER["positions"][1:]]}, "a coordinate that is not a number"),
            ({"numbers": [], "positions": []}, "has 0 atoms and 0 coordinates"),
            ({"numbers": [8, 1, None]}, "has an atomic number of no element"),
            ({"numbers": [8, 1, 0]}, "has an atomic number of no element"),
            ({"numbers": [8, 1, 200]}, "has an atomic number of no element"),
            ({"charge": 1}, "has an odd number of electrons"),
        ],
    )
    def test_a_row_that_is_no_label_is_named(self, write, change, said):
        path = write(AMMONIUM, WATER | change)
        with pytest.raises(ProbeError) as raised:
            labels.read(path)
        assert str(raised.value).startswith(f"{path}: row 2 ")
        assert said in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_a_missing_column_is_named(self, write):
        with pytest.raises(ProbeError, match=r"labels\.parquet: no column energy_ev"):
            labels.read(write(WATER, drop=("energy_ev",)))

    def test_a_fractional_charge_is_no_charge(self, write, tmp_path):
        table = pq.read_table(write(WATER)).drop(["charge"])
        pq.write_table(table.append_column("charge", pa.array([0.5])), tmp_path / "half.parquet")
        with pytest.raises(ProbeError, match=r"half\.parquet"):
            labels.read(tmp_path / "half.parquet")

    def test_no_rows_are_no_set(self, write):
        with pytest.raises(ProbeError, match=r"labels\.parquet: holds no labels"):
            labels.read(write())

    def test_no_file_is_said_so(self, tmp_path):
        with pytest.raises(ProbeError, match=r"none\.parquet: no such file"):
            labels.read(tmp_path / "none.parquet")


class TestConverged:
    UNCONVERGED = WATER | {"energy_ev": None, "converged": False}

    @pytest.fixture
    def write(self, tmp_path):
        """Writes rows as `probe label` does and returns the file's path."""

        def writer(*rows):
            path = tmp_path / "references.parquet"
            full = [dict.fromkeys(schemas.REFERENCES.names) | row for row in rows]
            tables.write(path, full, schemas.REFERENCES, {})
            return path

        return writer

    def test_what_did_not_converge_is_left_out_and_counted(self, write, capfd):
        path = write(self.UNCONVERGED, AMMONIUM | {"converged": True}, self.UNCONVERGED)
        found = labels.read(path)
        assert found.smiles == ("[NH4+]",)
        assert found.energy_ev.tolist() == [-1550.2]
        assert capfd.readouterr().err == f"{path}: 2 of 3 conformers did not converge; left out\n"

    def test_an_energy_that_did_not_converge_is_no_label_either(self, write):
        assert len(labels.read(write(WATER | {"converged": False}, AMMONIUM))) == 1

    def test_a_missing_energy_stays_an_error_and_rows_keep_their_numbers(self, write):
        for flag in (True, None):
            missing = WATER | {"energy_ev": None, "converged": flag}
            with pytest.raises(ProbeError, match=r"row 2 has no energy_ev"):
                labels.read(write(self.UNCONVERGED, missing))

    def test_nothing_is_said_of_a_set_that_converged(self, write, capfd):
        labels.read(write(WATER | {"converged": True}))
        assert capfd.readouterr().err == ""

    def test_if_nothing_converged_there_are_no_labels(self, write):
        with pytest.raises(ProbeError, match=r"references\.parquet: holds no labels"):
            labels.read(write(self.UNCONVERGED))


class TestReserved:
    @pytest.mark.parametrize(
        ("smiles", "digest", "reserved"),
        [
            ("C", "6b23c0d5", False),
            ("CC", "a56362a1", False),
            ("O", "c4694f2e", False),
            ("c1ccccc1", "13cad05c", False),
            ("C#N", "2e683ad4", True),
            ("S", "8de0b3c4", True),
            ("CN", "9fc45082", True),
        ],
    )
    def test_it_is_the_hash_of_the_smiles(self, smiles, digest, reserved):
        assert hashlib.sha256(smiles.encode()).hexdigest().startswith(digest)
        assert labels.reserved(smiles) is reserved
        assert (int(digest, 16) % 5 == 0) is reserved

    def test_it_is_about_a_fifth_of_all_molecules(self):
        share = np.mean([labels.reserved("C" * n) for n in range(1, 1001)])
        assert 0.15 < share < 0.25

    def test_none_is_in_the_calibration_set(self, calibration):
        assert not any(map(labels.reserved, calibration.smiles))


class TestInShare:
    NAMES = tuple("C" * n for n in range(1, 2001))

    def side(self, purpose, share):
        return np.array([labels.in_share(name, purpose, share) for name in self.NAMES])

    @pytest.mark.parametrize(
        ("smiles", "purpose", "digest"),
        [("C", "held out", "40817a40"), ("CC", "held out", "45081807"), ("C", "risk", "6d44935b")],
    )
    def test_it_is_the_hash_of_purpose_and_smiles(self, smiles, purpose, digest):
        text = f"{purpose}:{smiles}"
        assert hashlib.sha256(text.encode()).hexdigest().startswith(digest)
        place = int(digest, 16) / 16**8
        assert labels.in_share(smiles, purpose, place + 1e-9)
        assert not labels.in_share(smiles, purpose, place - 1e-9)

    @pytest.mark.parametrize("share", [0.05, 0.15, 0.5])
    def test_it_is_about_that_share_of_all_molecules(self, share):
        assert self.side("held out", share).mean() == pytest.approx(share, abs=0.03)

    def test_none_and_all_are_shares_too(self):
        assert not self.side("held out", 0.0).any()
        assert self.side("held out", 1.0).all()

    def test_a_larger_share_holds_the_smaller(self):
        assert (self.side("held out", 0.3) >= self.side("held out", 0.1)).all()

    def test_shares_of_different_purpose_are_independent(self):
        one, other = self.side("held out", 0.5), self.side("risk", 0.5)
        assert (one & other).mean() == pytest.approx(0.25, abs=0.04)

    def test_so_are_what_is_held_out_and_what_is_reserved(self):
        held_out, kept = self.side("held out", 0.5), [not labels.reserved(n) for n in self.NAMES]
        assert held_out[kept].mean() == pytest.approx(0.5, abs=0.04)
