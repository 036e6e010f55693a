"""What several test modules of DFT share."""

import pytest
from recomputable import Library


@pytest.fixture
def library():
    return Library()
