"""What the page's scripts read in pieces."""

from report_library import unpacked

from probe.report import compact


def test_what_is_packed_is_what_is_unpacked():
    value = {"name": "</script>", "p": [0.5, None, 1]}
    assert unpacked(compact.pack(value)) == value
    assert compact.pack(value) == compact.pack(value)


def test_pieces_hold_so_many_each_in_order():
    found = compact.pieces(range(7), 3, budget=10_000)
    assert [unpacked(piece) for piece in found] == [[0, 1, 2], [3, 4, 5], [6]]


def test_what_goes_beyond_the_budget_is_left_out_from_the_end():
    sizes = [len(piece) for piece in compact.pieces(range(7), 3, budget=10_000)]
    found = compact.pieces(range(7), 3, budget=sizes[0] + sizes[1])
    assert [unpacked(piece) for piece in found] == [[0, 1, 2], [3, 4, 5]]
    assert compact.pieces(range(7), 3, budget=0) == []


def test_what_is_left_out_is_not_even_made():
    made = []
    compact.pieces((made.append(i) for i in range(1000)), 10, budget=100)
    assert 0 < len(made) < 1000
