"""What the tests of the report in a browser share."""

import os
import shutil

import pytest
from browser import opening
from playwright.sync_api import sync_playwright
from report_library import HOSTILE, library, with_cache

from probe.report.page import write_report

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium():
    path = os.environ.get("PROBE_CHROMIUM") or shutil.which("chromium")
    if path is None:
        why = "no Chromium: install it, or name it in PROBE_CHROMIUM"
        if os.environ.get("PROBE_REQUIRE_BROWSER") == "1":
            pytest.fail(why)
        pytest.skip(why)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    made = library()
    made.conformers[0]["molecule_id"] = "a" * 300  # a long name without a place to break
    made.conformers[7]["synonyms"] = ["CAS 64-17-5"]
    made.rejected = [{"source": "demo.smi:62", "reason": "b" * 300, "molecule_id": HOSTILE}]
    inputs = with_cache(made, made.write(folder), folder)
    write_report(inputs, folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def opened(chromium, report, request):
    """The report open at a width, with all that went wrong or was asked for on the way."""
    yield from opening(chromium, report, request.param)
