"""The page as a browser shows it, where Chromium is installed: no error, no request, sizes of pictures."""

import html
import json
import re
import shutil
import subprocess

import pytest

from mpl_tf.report import page
from tests.report import made

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"]
# A page's own policy lets no script run, so the test adds one, and the permission for it, to a copy.
PROBE = """<script>addEventListener("load", () => {
  const seen = [...document.images].map(i => [i.naturalWidth, i.clientWidth, i.clientHeight]);
  const height = name => (document.querySelector(name) || {}).clientHeight;
  parent.postMessage(JSON.stringify({images: seen, settings: height("details") - height("summary"),
    color: getComputedStyle(document.querySelector("figcaption")).color,
    link: getComputedStyle(document.querySelector("a"), "::after").content,
    wide: [...document.querySelectorAll("table, figure, img")].filter(
      e => e.getBoundingClientRect().right > innerWidth).map(e => [e.tagName, e.className, e.getBoundingClientRect().right]), width: document.documentElement.scrollWidth,
    requests: performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:")).map(e => e.name),
    window: innerWidth}), "*");
})</script></body>"""
# As wide as a phone, which a window of Chromium's cannot be, and as paper between margins of 14 mm.
PHONE = """<!DOCTYPE html><script>onmessage = event => {
  document.documentElement.dataset["seen" + JSON.parse(event.data).window] = event.data }</script>
<iframe src="page.html" width="390" height="800"></iframe><iframe src="print.html" width="688" height="900"></iframe>"""


def _browse(tmp_path, text):
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    (tmp_path / "print.html").write_text(text.replace("@media print", "@media all"), encoding="utf-8")
    (tmp_path / "phone.html").write_text(PHONE, encoding="utf-8")
    return subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom",
         (tmp_path / "phone.html").as_uri()], capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_a_browser_shows_it_without_an_error_or_a_request(tmp_path):
    text = page.page(made.page_contents())
    probed = text.replace("default-src &#x27;none&#x27;", "default-src &#x27;none&#x27;; script-src &#x27;unsafe-inline&#x27;")
    assert probed != text
    done = _browse(tmp_path, probed.replace("</body>", PROBE))
    seen, printed = (json.loads(html.unescape(re.search(f'data-seen{width}="([^"]*)"', done.stdout).group(1)))
                     for width in (390, 688))
    assert len(seen["images"]) > 30 and all(min(sizes) > 0 for sizes in seen["images"])
    assert seen["requests"] == []
    assert seen["width"] <= seen["window"] <= 390        # nothing makes the page itself scroll sideways
    assert not re.search(r"CONSOLE|Refused", done.stderr), done.stderr
    assert seen["settings"] == 0       # those are opened by who wants to see them
    assert printed["settings"] > 100 and printed["wide"] == [] and all(min(sizes) > 0 for sizes in printed["images"])
    assert printed["color"] == "rgb(0, 0, 0)" != seen["color"] and "beside this page" in printed["link"]


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_an_error_would_be_found(tmp_path):
    text = page.page(made.page_contents()).replace("</body>", "<script>nothing()</script></body>")
    assert re.search(r"CONSOLE|Refused", _browse(tmp_path, text).stderr)
