"""A page open in Chromium, with all that goes wrong on it."""

import pytest

WIDTHS = [1280, 390]


def opening(chromium, report, width):
    context = chromium.new_context(viewport={"width": width, "height": 900})
    tab = context.new_page()
    tab.troubles, tab.requests, tab.dialogs = [], [], []
    tab.on("console", lambda message: complain(tab, message.text))
    tab.on("pageerror", lambda error: tab.troubles.append(str(error)))
    tab.on("request", lambda asked: tab.requests.append(asked.url))
    tab.on("dialog", lambda dialog: (tab.dialogs.append(dialog.message), dialog.dismiss()))
    tab.goto(report.as_uri(), wait_until="load")
    tab.wait_for_selector("#explorer[data-ready]")
    yield tab
    context.close()


def complain(tab, text):
    """Keep what the page says, not what Chromium says of drawing without a graphics card."""
    if "GL Driver Message" not in text:
        tab.troubles.append(text)


at_every_width = pytest.mark.parametrize("opened", WIDTHS, indirect=True)
