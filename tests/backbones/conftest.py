"""What the test modules of MACE share."""

import pytest
import tiny_mace


@pytest.fixture(scope="module")
def built():
    """Networks of other kinds, each built and saved once."""
    contents = {}

    def content(**how):
        key = repr(sorted(how.items(), key=lambda item: item[0]))
        if key not in contents:
            contents[key] = tiny_mace.saved(tiny_mace.build(**how))
        return contents[key]

    return content
