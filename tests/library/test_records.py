from probe.library import records

WATER = """3
charge=0
O 0.0 0.0 0.1173
H 0.0 0.7572 -0.4692
H 0.0 -0.7572 -0.4692
"""


def test_a_csv_row_may_span_lines_but_a_stray_quote_takes_no_record_with_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('smiles,name\nC,"two\nlines"\nCC,"open\nCCC,c\nCCCC,"say ""d"""\n')
    found = [text for _, text in records.shard(path, 0, 10, None)]
    assert found == ['C,"two\nlines"\n', 'CC,"open\n', "CCC,c\n", 'CCCC,"say ""d"""\n']


def test_a_damaged_atom_count_spoils_only_its_own_frame(tmp_path):
    path = tmp_path / "a.xyz"
    damaged = WATER.replace("3\n", "three\n", 1)
    surplus = WATER + "H 1.0 1.0 1.0\n"
    path.write_text(WATER + damaged + surplus + WATER)
    assert [text for _, text in records.shard(path, 0, 9, None)] == [WATER, damaged, surplus, WATER]


def test_a_bare_number_is_a_comment_where_the_comment_is_due(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text("1\n7\nHe 0 0 0\n1\n\nNe 0 0 0\n")
    assert [text for _, text in records.shard(path, 0, 9, None)] == [
        "1\n7\nHe 0 0 0\n",
        "1\n\nNe 0 0 0\n",
    ]


def test_bytes_that_are_not_utf8_are_read_as_latin_1(tmp_path):
    path = tmp_path / "a.smi"
    path.write_bytes("CCO éthanol\n".encode() + "CCO éthanol\n".encode("latin-1"))
    assert [text for _, text in records.shard(path, 0, 2, None)] == ["CCO éthanol\n"] * 2
