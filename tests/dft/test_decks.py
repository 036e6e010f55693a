"""Input decks: what each program is told, and a manifest of what was sent."""

import tarfile
import zipfile

import pytest
from recomputable import NITROGEN, OXYGEN, WATER, Library

from probe import schemas, tables
from probe.dft import decks, recompute
from probe.dft.methods import B97_3C, WB97M_D3
from probe.errors import ProbeError


@pytest.fixture
def folder(tmp_path):
    """A library with a closed shell, an ion, a triplet, and a spin that there is not."""
    library = Library()
    library.add("O", WATER, p=0.9)
    library.add("O", WATER, charge=1, multiplicity=2, p=0.8)
    library.add("O=O", OXYGEN, multiplicity=3, p=0.7)
    library.add("N#N", NITROGEN, multiplicity=2, p=0.6)
    folder = library.write(tmp_path / "lib")
    recompute.shards(folder, B97_3C, recompute.Settings())
    return folder


def contents(archive):
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            return {name: opened.read(name).decode() for name in opened.namelist()}
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
        return {member.name: opened.extractfile(member).read().decode() for member in members}


def exported(folder, program, name="decks.tar.gz", **options):
    """The decks by the charge and multiplicity of what they are of."""
    out = folder / "decks" / name
    n, archives = decks.export(folder, program, out, **options)
    texts = {name: text for path in archives for name, text in contents(path).items()}
    stem = name.removesuffix(".zip").removesuffix(".tar.gz")
    manifest = tables.read(out.with_name(f"{stem}.manifest.parquet"), schemas.MANIFEST).to_pylist()
    assert n == len(texts)
    return {(e["charge"], e["multiplicity"]): texts.get(e["deck"]) for e in manifest}, manifest


def test_orca(folder):
    texts, _ = exported(folder, "orca")
    deck = texts[0, 1].splitlines()
    assert deck[1:3] == ["! B97-3c TightSCF", "* xyz 0 1"]
    assert deck[3].split() == ["O", "0.0000", "0.0000", "0.1173"]
    assert deck[-1] == "*"
    assert "! B97-3c TightSCF UKS\n* xyz 1 2\n" in texts[1, 2]
    assert "UKS\n* xyz 0 3\n" in texts[0, 3]


def test_psi4(folder):
    texts, _ = exported(folder, "psi4")
    assert "set reference rks\nenergy('b97-3c')\n" in texts[0, 1]
    assert "molecule {\n1 2\nO " in texts[1, 2]
    assert "set reference uks\n" in texts[1, 2]


def test_gaussian_is_told_a_level_of_theory(folder):
    texts, manifest = exported(folder, "gaussian", route="#P B97D3/def2TZVP")
    head, title, body, end = texts[0, 3].split("\n\n")
    assert head == "#P B97D3/def2TZVP NoSymm"
    assert title in {entry["conformer_id"] for entry in manifest}
    assert body.splitlines()[0] == "0 3"
    assert end == ""
    assert {entry["method"] for entry in manifest} == {"#P B97D3/def2TZVP"}


def test_the_other_family_of_networks(folder):
    recompute.shards(folder, WB97M_D3, recompute.Settings())
    texts, _ = exported(folder, "orca")
    assert "! wB97M-D3BJ def2-TZVPP def2/J RIJCOSX TightSCF\n" in texts[0, 1]


def test_the_manifest_has_every_conformer_and_says_which_has_no_deck(folder):
    texts, manifest = exported(folder, "orca", "decks.zip")
    assert len(manifest) == 4
    assert texts[0, 2] is None
    assert len({entry["geometry_sha256"] for entry in manifest}) == 3  # water twice
    assert {entry["archive"] for entry in manifest} == {"decks-00000.zip", None}


def test_each_shard_has_an_archive(folder):
    recompute.shards(folder, B97_3C, recompute.Settings(shard_core_hours=1e-5))
    n, archives = decks.export(folder, "orca", folder / "decks/x.tar.gz")
    assert len(archives) == recompute.n_shards(folder) > 1
    assert sum(len(contents(archive)) for archive in archives) == n == 3


def test_the_digest_is_of_the_rounded_geometry():
    numbers, places = WATER
    digest = decks.geometry_sha256(numbers, places)
    nudged = [[x + 4e-5, y, -0.0 if z == 0 else z] for x, y, z in places]
    assert decks.geometry_sha256(numbers, nudged) == digest
    assert decks.geometry_sha256(numbers, [[x + 1e-4, y, z] for x, y, z in places]) != digest
    assert decks.geometry_sha256([8, 1, 2], places) != digest


@pytest.mark.parametrize(
    ("program", "name", "route", "message"),
    [
        ("orca", "decks.rar", None, r"decks.rar: unknown kind of archive; known are .tar.gz .zip"),
        ("gaussian", "decks.zip", None, "Gaussian has neither B97-3c nor"),
        ("orca", "decks.zip", "#P HF", "leave --gaussian-route out"),
    ],
)
def test_what_cannot_be_written(folder, program, name, route, message):
    with pytest.raises(ProbeError, match=message):
        decks.export(folder, program, folder / name, route)
