"""docs/notebook.ipynb runs as it stands, and what it shows is what comes out."""

import nbformat
import pytest
from nbclient import NotebookClient
from repository import ROOT

PATH = ROOT / "docs" / "notebook.ipynb"


@pytest.fixture(scope="module")
def stored():
    return nbformat.read(PATH, as_version=4)


@pytest.fixture(scope="module")
def executed(aimnet_file):
    assert aimnet_file.exists()
    notebook = nbformat.read(PATH, as_version=4)
    return NotebookClient(notebook, timeout=600, kernel_name="python3").execute()


def shown(notebook):
    """The text of every cell's result."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    results = [[o for o in cell.outputs if o.output_type == "execute_result"] for cell in cells]
    return [[o.data.get("text/plain", "") for o in found] for found in results]


def test_it_is_small_and_was_executed(stored):
    assert PATH.stat().st_size < 100_000
    assert [len(found) for found in shown(stored)] == [0, 1, 1, 1]
    assert "image/svg+xml" in stored.cells[5].outputs[0].data


@pytest.mark.filterwarnings("default")  # of Jupyter's own
def test_it_runs_and_says_the_same(stored, executed):
    for before, now in zip(shown(stored), shown(executed), strict=True):
        names = [{word for word in text.split() if word.isalpha()} for text in (*before, *now)]
        assert len(names) in (0, 2)
        assert not names or names[0] == names[1]
