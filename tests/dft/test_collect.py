"""Outputs of ORCA: what is read, and what is refused and why.

The output is written by hand after the lines that cclib and others read; none of it was run.
"""

import pytest
from click.testing import CliRunner
from recomputable import NITROGEN, WATER

from probe import cli, schemas, tables
from probe.classifier import card
from probe.dft import collect, decks, energies, recompute, scf
from probe.dft.methods import B97_3C
from probe.errors import ProbeError

OUTPUT = """\

                                 *****************
                                 * O   R   C   A *
                                 *****************

                         Program Version 5.0.4 -  RELEASE  -

================================================================================
                                       INPUT FILE
================================================================================
NAME = water.inp
|  1> # water
|  2> ! B97-3c TightSCF
|  3> * xyz 0 1
|  4> O          0.0000         0.0000         0.1173
|  5> H          0.0000         0.7572        -0.4692
|  6> H          0.0000        -0.7572        -0.4692
|  7> *
|  8>
|  9>                          ****END OF INPUT****
================================================================================

                       ****************************
                       * Single Point Calculation *
                       ****************************

---------------------------------
CARTESIAN COORDINATES (ANGSTROEM)
---------------------------------
  O      0.000000    0.000000    0.117300
  H      0.000000    0.757200   -0.469200
  H      0.000000   -0.757200   -0.469200

------------
SCF SETTINGS
------------
General Settings:
 Integral files         IntName         .... water
 Hartree-Fock type      HFTyp           .... RHF
 Total Charge           Charge          ....    0
 Multiplicity           Mult            ....    1
 Number of Electrons    NEL             ....   10

--------------
SCF ITERATIONS
--------------
ITER       Energy         Delta-E        Max-DP      RMS-DP      [F,P]     Damp
  0    -76.3912742864   0.000000000000 0.00085720  0.00006449  0.0033749 0.7000

               *****************************************************
               *                     SUCCESS                       *
               *           SCF CONVERGED AFTER  11 CYCLES          *
               *****************************************************

----------------
TOTAL SCF ENERGY
----------------

Total Energy       :          -76.39127429 Eh           -2078.71242 eV

-------------------------   ----------------
Dispersion correction           -0.000847200
-------------------------   ----------------
-------------------------   --------------------
FINAL SINGLE POINT ENERGY       -76.397755497487
-------------------------   --------------------

                             ****ORCA TERMINATED NORMALLY****
TOTAL RUN TIME: 0 days 0 hours 0 minutes 2 seconds 345 msec
"""
FINAL = -76.397755497487


@pytest.fixture
def sent(library, tmp_path):
    """The folder of a library of which a deck of water and one of nitrogen were written."""
    library.add("O", WATER, energy_ev=-2078.0, p=0.9)
    library.add("N#N", NITROGEN, energy_ev=-2980.0, p=0.8)
    folder = library.write(tmp_path / "lib")
    recompute.shards(folder, B97_3C, recompute.Settings())
    decks.export(folder, "orca", folder / "decks/orca.zip")
    return folder


@pytest.fixture
def manifest(sent):
    return sent / "decks/orca.manifest.parquet"


@pytest.fixture
def water(manifest):
    """The name of water's deck, without its suffix."""
    return next(
        row["conformer_id"]
        for row in tables.read(manifest, schemas.MANIFEST).to_pylist()
        if row["numbers"] == WATER[0]
    )


@pytest.fixture
def collected(sent, manifest, water, tmp_path):
    """Collects an output of water; the row that it gave."""

    def run(text):
        outputs = tmp_path / "runs"
        outputs.mkdir(exist_ok=True)
        (outputs / f"{water}.out").write_text(text)
        collect.collect(sent, [outputs], manifest)
        (row,) = tables.read(sent / energies.COLLECTED, schemas.COMPUTED).to_pylist()
        assert row["conformer_id"] == water
        return row

    return run


def test_the_energy_is_the_final_one(collected):
    row = collected(OUTPUT)
    assert row["dft_energy_ev"] == pytest.approx(FINAL * scf.EV_PER_HARTREE, abs=1e-9)
    assert (row["method"], row["engine"], row["converged"]) == ("B97-3c", "ORCA", True)
    assert row["reason"] is None


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("Charge          ....    0", "Charge          ....    1", "its charge is 1, and the deck"),
        (
            "Mult            ....    1",
            "Mult            ....    3",
            "its multiplicity is 3, and the",
        ),
        (
            "O      0.000000    0.000000",
            "O      0.000300    0.000000",
            "its geometry is not the dec",
        ),
        ("! B97-3c TightSCF", "! PBE TightSCF", "its input lacks b97-3c, which the deck has"),
        ("SCF CONVERGED AFTER", "SCF NOT CONVERGED AFTER", "the SCF did not converge"),
        ("-76.397755497487", "-76.397755497487 (SCF not fully converged!)", "the SCF did not conv"),
        ("****ORCA TERMINATED NORMALLY****", "", "ORCA did not end normally; run it again"),
        ("FINAL SINGLE POINT ENERGY  ", "ABORTING THE RUN ", "ORCA did not end normally; run it"),
        ("* O   R   C   A *", "* G A U S S *", "not an ORCA output that can be read; look whether"),
        (OUTPUT[OUTPUT.index("SCF SETTINGS") :], "", "not an ORCA output that can be read; look w"),
        (OUTPUT, "", "not an ORCA output that can be read; look whether it is whole"),
    ],
)
def test_what_cannot_be_used_is_a_line_and_a_reason(collected, capfd, before, after, reason):
    assert before in OUTPUT
    row = collected(OUTPUT.replace(before, after, 1))
    assert (row["converged"], row["dft_energy_ev"]) == (False, None)
    assert row["reason"].startswith(reason)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("collect: ")
    assert line.endswith(row["reason"])


def test_an_optimisation_is_none_of_ours(collected):
    final = f"FINAL SINGLE POINT ENERGY       {FINAL}\n"
    assert "more than one energy" in collected(OUTPUT.replace(final, final * 2))["reason"]


def test_another_version_prints_its_scf_otherwise(collected):
    later = OUTPUT[: OUTPUT.index("--------------\nSCF ITER")] + (
        "---------------------------D-I-I-S----------------------------\n"
        "Iteration    Energy (Eh)   Delta-E    RMSDP     MaxDP     DIISErr   Damp  Time(sec)\n"
    )
    rest = OUTPUT[OUTPUT.index("               ****", OUTPUT.index("SCF ITER")) :]
    assert collected(later + rest)["converged"]


def test_an_energy_stays_whatever_comes_after(collected):
    collected(OUTPUT)
    assert collected("nothing")["converged"]
    assert collected(OUTPUT)["converged"]


def test_foreign_outputs_are_counted_and_not_named(sent, manifest, water, tmp_path, capfd):
    runs = tmp_path / "runs"
    (runs / "slurm").mkdir(parents=True)
    for name in (f"{water}.out", "stranger.out", "slurm/1.log", "slurm/2.log"):
        (runs / name).write_text(OUTPUT)
    assert collect.collect(sent, [runs], manifest) == collect.Outcome(1, 1, 0, n_foreign=3)
    assert capfd.readouterr().err == (
        "collect: 3 outputs are not named after a deck of orca.manifest.parquet; left out\n"
    )


def test_where_all_of_them_are_foreign_the_command_fails(sent, manifest, tmp_path):
    (tmp_path / "stranger.out").write_text(OUTPUT)
    words = ["collect", sent, tmp_path / "stranger.out", "--manifest", manifest]
    result = CliRunner().invoke(cli.main, [str(word) for word in words])
    assert result.exit_code == 2
    missing = "no ORCA output (*.out, *.log) there that is named after a deck of"
    assert result.stderr.endswith(f"stranger.out: {missing} {manifest}\n")


def test_the_final_energies_take_them(sent, collected, water):
    collected(OUTPUT)
    counts = energies.finish(sent, card.read("aimnet2-b973c"))
    rows = tables.read(sent / "energies.parquet", schemas.ENERGIES).to_pylist()
    (row,) = (row for row in rows if row["conformer_id"] == water)
    assert (row["source"], row["method"]) == ("dft", "B97-3c (ORCA)")
    assert (counts["n_dft"], counts["n_left"]) == (1, 1)


def test_what_is_not_there_or_not_orcas(sent, manifest, tmp_path):
    with pytest.raises(ProbeError, match="no such file or folder"):
        collect.collect(sent, [tmp_path / "none"], manifest)
    decks.export(sent, "psi4", sent / "decks/psi4.zip")
    with pytest.raises(ProbeError, match="only ORCA outputs are read back"):
        collect.collect(sent, [tmp_path], sent / "decks/psi4.manifest.parquet")
