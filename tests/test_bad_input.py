"""Whatever a stranger's file holds: each record is ingested or rejected, nothing is executed."""

import gzip
import os
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from molfiles import METHANOL

from probe import schemas, tables
from probe.conformers import ingest
from probe.conformers.conformer import Options
from probe.errors import ProbeError
from probe.library import plan

OPTIONS = Options(forcefield="none")

END = "$$$$\n"
BARE = "\n".join(METHANOL.splitlines()[:3]) + "\n"
FLAT = METHANOL.replace("3D", "2D")
NO_HYDROGENS = BARE + (
    "  2  1  0  0  0  0            999 V2000\n    0.1    0.2    0.3 C   0  0\n"
    "    1.4    0.5    0.9 O   0  0\n  1  2  1  0\nM  END\n"
)
ETHANE = "2\nname=a\nH 0 0 0\nH 0 0 0.74\n"
BIG = "10000\n\n" + "".join(f"He {x} {y} {z}\n" for x in range(0, 60, 3) for y in range(0, 75, 3)
                            for z in range(0, 60, 3))  # fmt: skip


def xyz(*lines, comment=""):
    return "\n".join([str(len(lines)), comment, *lines, ""])


def ingested(path, folder, shard_size=3, options=OPTIONS):
    """Conformers, rejects and the plan of ``path``; every shard's counts are checked."""
    made = plan.current("lib", path, shard_size, folder / "plan.json")
    kept, rejected = [], []
    for index, shard in enumerate(made.shards):
        outs = folder / "c.parquet", folder / "r.parquet"
        counts = ingest.ingest_shard(made, index, *outs, options)
        found = [tables.read(outs[0], schemas.CONFORMERS), tables.read(outs[1], schemas.REJECTED)]
        sources = [s for text in found[0]["source"].to_pylist() for s in text.split("; ")]
        sources += found[1]["source"].to_pylist()
        assert sum(counts) == shard.count == len(sources) == len(set(sources))
        assert {int(source.rpartition(":")[2]) for source in sources} == set(
            range(shard.first + 1, shard.first + shard.count + 1)
        )
        kept += found[0].to_pylist()
        rejected += found[1].to_pylist()
    assert sum(shard.count for shard in made.shards) == made.n_records
    return kept, rejected, made


RECORDS = {
    "an empty file": ("a.smi", "", 0, 0),
    "nothing but blank lines": ("a.smi", "\n \r\n\t\n", 0, 0),
    "CRLF": ("a.smi", "C a\r\nCC b\r\n", 2, 0),
    "no line feed at the end": ("a.smi", "C a\nCC b", 2, 0),
    "lone carriage returns": ("a.smi", "C a\rCC b\r", 1, 0),
    "a byte order mark": ("a.smi", b"\xef\xbb\xbfC a\n", 1, 0),
    "Latin-1": ("a.smi", "C méthane\n".encode("latin-1"), 1, 0),
    "bytes of no encoding": ("a.smi", b"C \xff\xfe\x00\x80\n", 1, 0),
    "NUL bytes": ("a.smi", b"C\x00C a\n\x00\nC b\n", 1, 2),
    "a SMILES of a hundred thousand characters": ("a.smi", "C" * 100_000 + " long\nC a\n", 1, 1),
    "unclosed rings and brackets": ("a.smi", "C1CC a\nC(C b\n[C c\nC) d\n", 0, 4),
    "a valence beyond reason": ("a.smi", "CN(C)(C)(C)C a\nF(F)F b\n", 0, 2),
    "an unknown element": ("a.smi", "[Xx] a\n", 0, 1),
    "dummy atoms and R-groups": ("a.smi", "C* a\nC[*:1] b\n", 0, 2),
    "SMARTS": ("a.smi", "[#6;R] a\nC~C b\n", 0, 2),
    "a reaction": ("a.smi", "CC>>CO a\n", 0, 1),
    "a bare proton": ("a.smi", "[H+] a\n", 0, 1),
    "a charge beyond the electrons": ("a.smi", "[H+3] a\n", 0, 1),
    "a cage that cannot be built": ("a.smi", "C12C3C1C23 a\nC123C45C16C24C356 b\n", None, None),
    "the same name twice": ("a.smi", "C a\nCC a\n", 2, 0),
    "the same record twice": ("a.smi", "C a\nC a\n", 2, 0),
    "names that are commands": (
        "a.smi",
        "C $(touch pwned)\nCC `touch pwned`\nCCC ;touch pwned;\nN | touch pwned\n",
        *(4, 0),
    ),
    "names that are markup": ("a.smi", "C <script>alert(1)</script>\nN \"><img src=x>\n", 2, 0),
    "names that are paths": ("a.smi", "C ../../etc/passwd\nN /dev/null\nO C:\\x\n", 3, 0),
    "names with quotes and spaces": ("a.smi", "C it's \"a\" name\nN  two  \n", 2, 0),
    "names with control characters": ("a.smi", "C \x1b[31mred\x07\nN a\x0bb\n", 2, 0),
    "names that are templates": ("a.smi", "C {wildcards.library}\nN {{7*7}}\nO %s%n\n", 3, 0),
    "a name of ten thousand characters": ("a.smi", "C " + "n" * 10_000 + "\n", 1, 0),
    "a table with too few and too many cells": ("a.csv", "smiles,name\nC\nCC,b,c,d\n,\n", 2, 1),
    "quotes that never close": ("a.csv", 'smiles,name\n"C,a\nCC,"b\nCCC,c\n', 1, 2),
    "a cell beyond the limit": ("a.csv", "smiles,name\nC," + "x" * 200_000 + "\nC,a\n", 1, 1),
    "columns of one name twice": ("a.csv", "smiles,smiles,name\nC,CC,a\n", 1, 0),
    "a spreadsheet's formula": ("a.csv", 'smiles,name\n"=cmd|\'/C calc\'!A0",a\nC,=1+1\n', 1, 1),
    "an SDF of nothing but ends": ("a.sdf", END * 3, 0, 3),
    "an SDF cut in its last record": ("a.sdf", METHANOL + END + METHANOL[:250], 1, 1),
    "an SDF without its last end": ("a.sdf", METHANOL + END + METHANOL, 2, 0),
    "an SDF with CRLF": ("a.sdf", (METHANOL + END).replace("\n", "\r\n"), 1, 0),
    "a 2D SDF": ("a.sdf", FLAT + END, 1, 0),
    "a 3D SDF without hydrogens": ("a.sdf", NO_HYDROGENS + END, 0, 1),
    "counts that lie": ("a.sdf", METHANOL.replace("  6  5", "  9  5") + END + METHANOL + END, 1, 1),
    "counts that are no numbers": ("a.sdf", METHANOL.replace("  6  5", " aa bb") + END, 0, 1),
    "bonds to absent atoms": ("a.sdf", METHANOL.replace("  2  6", "  2 99") + END, 0, 1),
    "NaN in an SDF": ("a.sdf", METHANOL.replace("   -0.3672", "       nan") + END, 0, 1),
    "all atoms at one place": (
        "a.sdf",
        BARE + "  2  1  0  0  0  0            999 V2000\n" + "    0.5    0.5    0.5 F   0  0\n" * 2
        + "  1  2  1  0\nM  END\n" + END,
        *(0, 1),
    ),
    "a query in an SDF": ("a.sdf", METHANOL.replace(" O  ", " Q  ") + END, 0, 1),
    "an atom count that lies": ("a.xyz", "5\n\nH 0 0 0\nH 0 0 1\n" + ETHANE, 1, 1),
    "an atom count that is no number": ("a.xyz", ETHANE + "-2\n\nH 0 0 0\n" + ETHANE, 2, 1),
    "NaN and infinite coordinates": (
        "a.xyz", xyz("He 0 0 nan") + xyz("He inf 0 0") + xyz("He 1e300 0 0"), 0, 3,
    ),
    "atoms at zero distance": ("a.xyz", xyz("H 0 0 0", "H 0 0 0") + ETHANE, 1, 1),
    "ten thousand atoms": ("a.xyz", BIG + ETHANE, None, None),
    "a periodic cell": ("a.xyz", xyz("He 0 0 0", comment='Lattice="9 0 0 0 9 0 0 0 9"'), 0, 1),
    "wrong charge tags": (
        "a.xyz",
        "".join(xyz("He 0 0 0", comment=f"charge={q}") for q in ("one", "0.5", "nan", "2", "9")),
        *(0, 5),
    ),
    "a multiplicity against parity": ("a.xyz", xyz("He 0 0 0", comment="multiplicity=2"), 0, 1),
    "a comment that is Python": ("a.xyz", xyz("He 0 0 0", comment="x=__import__('os')"), 1, 0),
    "a comment that is JSON": ("a.xyz", xyz("He 0 0 0", comment='x=_JSON{"a":[1,2'), None, None),
    "gzip in two members": ("a.smi.gz", gzip.compress(b"C a\n") + gzip.compress(b"CC b\n"), 2, 0),
}  # fmt: skip
"""File, content, how many records are ingested and how many rejected (None: either will do)."""

REFUSED = {
    "truncated gzip": ("a.smi.gz", gzip.compress(os.urandom(999).hex().encode())[:-9]),
    "a gzip that is none": ("a.smi.gz", b"C a\n"),
    "a gzip with a wrong checksum": (
        "a.smi.gz",
        gzip.compress(b"C a\n")[:-8] + zlib.crc32(b"other").to_bytes(4, "little") + b"\x04\0\0\0",
    ),
    "gzip without its suffix": ("a.smi", gzip.compress(b"C a\n")),
    "truncated zstd": (
        "a.sdf.zst",
        pa.Codec("zstd").compress(METHANOL.encode(), asbytes=True)[:-9],
    ),
    "UTF-16": ("a.csv", "smiles,name\nC,a\n".encode("utf-16")),
    "a table without the column": ("a.csv", b"structure,name\nC,a\n"),
    "a table of one endless cell": ("a.csv", b'"' + b"x" * 200_000),
    "an unknown suffix": ("a.docx", b"C a\n"),
    "no suffix": ("a", b"C a\n"),
    "Parquet that is none": ("a.parquet", b"PAR1 and no more PAR1"),
    "HDF5 that is none": ("a.h5", b"\x89HDF\r\n\x1a\n and no more"),
    "a pickle": ("a.pt", b"cos\nsystem\n(S'touch pwned'\ntR."),
    "a pickle of another name": ("a.pkl", b"cos\nsystem\n(S'touch pwned'\ntR."),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder of its own; whatever else appears in it was executed."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert {path.name for path in tmp_path.iterdir()} <= {"lib", "out"}


@pytest.mark.parametrize("kind", RECORDS)
def test_records_are_ingested_or_rejected_and_all_are_counted(place, kind):
    name, content, n_ingested, n_rejected = RECORDS[kind]
    path, out = place / "lib" / name, place / "out"
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    kept, rejected, made = ingested(path, out)
    if n_ingested is not None:
        assert (made.n_records, len(rejected)) == (n_ingested + n_rejected, n_rejected)
    assert all(row["reason"].isprintable() and row["reason"] for row in rejected)
    assert all(row["molecule_id"].isprintable() and row["molecule_id"] for row in kept + rejected)
    for row in kept:
        assert np.isfinite(row["positions"]).all()


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(place, kind):
    name, content = REFUSED[kind]
    path = place / "lib" / name
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ProbeError) as caught:
        ingested(path, place / "out")
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()


@pytest.mark.parametrize(
    "name", ["$(touch pwned).smi", "a;b.smi", "a\nb.smi", "<b>.smi", "-n.smi", "{x}.smi"]
)
def test_a_file_of_any_name_is_read_and_named_in_one_line(place, name):
    path = place / "lib" / name
    path.parent.mkdir()
    path.write_text("C\n")
    ((row,), _, _) = ingested(path, place / "out")
    assert row["source"].isprintable()


def test_rows_of_parquet_are_rejected_one_by_one(place):
    good = {"numbers": [1, 1], "positions": [0.0, 0.0, 0.0, 0.0, 0.0, 0.74], "charge": 0}
    changes = (
        {}, {"numbers": None}, {"positions": None}, {"charge": None}, {"numbers": []},
        {"positions": [0.0]}, {"positions": [float("nan")] * 6}, {"positions": [0.0] * 6},
        {"numbers": [1, 0]}, {"numbers": [1, -7]}, {"charge": 5}, {"charge": 1},
    )  # fmt: skip
    path = place / "lib" / "a.parquet"
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pylist([good | change for change in changes]), path)
    kept, rejected, _ = ingested(path, place / "out")
    assert (len(kept), len(rejected)) == (1, len(changes) - 1)


FRAGMENTS = [
    *("C", "CCO", "c1ccccc1", "C(C", "[NH4+]", " ", "\t", ",", ";", '"', "'", "\n", "\r", "\r\n"),
    *("$$$$\n", "> <x>\n1\n", METHANOL, METHANOL + END, ETHANE, "2\n", "H 0 0 0\n", "0\n", "-1\n"),
    *("smiles,name\n", "smiles\tname\n", "#", "nan", "\0", "é", "\x1b", "|", "M  END\n", "99999\n"),
]
CONTENT = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
    st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join).map(str.encode),
    st.lists(
        st.sampled_from([fragment.encode() for fragment in FRAGMENTS]) | st.binary(max_size=8),
        max_size=25,
    ).map(b"".join),
)


def outcome(path, folder, shard_size):
    """Why the whole file is refused, or what became of its records."""
    try:
        return "", ingested(path, folder, shard_size)
    except ProbeError as error:
        return str(error), None


def n_sources(rows):
    return sum(len(row["source"].split("; ")) for row in rows)


@pytest.mark.parametrize("suffix", ["smi", "csv", "tsv", "sdf", "xyz"])
def test_whatever_the_bytes_nothing_is_lost(tmp_path_factory, suffix):
    @settings(
        max_examples=100,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(content=CONTENT, header=st.booleans(), shard_size=st.integers(1, 5))
    @example(content=b"", header=True, shard_size=1)
    def conserved(content, header, shard_size):
        assume(content.count(b"\n") < 200)
        folder = tmp_path_factory.mktemp("any")
        path = folder / f"lib.{suffix}"
        delimiter = {"csv": b",", "tsv": b"\t"}.get(suffix)
        first = b"smiles" + delimiter + b"name\n" if header and delimiter else b""
        path.write_bytes(first + content)
        problem, found = outcome(path, folder, shard_size)
        assert problem.isprintable()
        assert problem == "" or problem.startswith(str(path))
        assert found is None or found[2].n_records == len(found[1]) + n_sources(found[0])

    conserved()
