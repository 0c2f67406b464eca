"""The page itself: one HTML document that needs nothing beside it."""

from __future__ import annotations

from mpl_tf.report import comparing, galleries, sections
from mpl_tf.report.markup import Markup, element, with_flags

MOST_BYTES = 10_000_000
# Nothing is fetched, and nothing runs, whatever a name may hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = Markup("""
:root { color-scheme: light }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: #fff; color: #1a1a1a;
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin: .2rem 0 } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem }
p { margin: .5rem 0 } .flag { white-space: nowrap }
.note, figcaption, caption { color: #555; font-size: .9rem; text-align: left }
.verdict { border-left: .4rem solid #777; background: #f3f3f3; padding: .8rem 1rem; font-size: 1.1rem }
.verdict.helped { border-color: #009e73 } .verdict.hurt { border-color: #d55e00 }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem }
.card { border: 1px solid #ccc; border-radius: .5rem; padding: .7rem 1rem } .big { font-size: 2rem }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: .5rem 0 }
th, td { overflow-wrap: break-word; padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
.n { text-align: right; font-variant-numeric: tabular-nums } td.n { white-space: nowrap } th.n { min-width: 4.5rem }
.confusion td, .confusion th { padding: .2rem .4rem; max-width: 8rem; vertical-align: middle }
.confusion thead th + th { text-align: right } .confusion td { min-width: 1.7em }
.turned thead th + th { writing-mode: vertical-rl; max-height: 11rem; vertical-align: bottom }
.many { font-size: .8rem } .many td, .many th { padding: .1rem .25rem }
td:first-child { min-width: 6rem; max-width: 16rem } .comparison td:first-child { min-width: 13rem }
.bar { display: block; height: .6rem; background: #0072b2; min-width: 1px }
.track { display: block; width: 6rem; background: #e6e6e6 }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .8rem }
.gallery figure { margin: 0; font-size: .8rem; line-height: 1.3 } .gallery figcaption { font-size: .8rem }
.views { display: flex; gap: .2rem; flex-direction: column; align-items: start }
img { max-width: 100%; height: auto } .pixels { image-rendering: pixelated }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem }
details { margin-top: 2rem } summary { cursor: pointer }
@media (max-width: 32rem) { .track { width: 2.5rem } th, td { padding: .25rem .35rem }
  th.n { min-width: 3rem } .comparison td:first-child { min-width: 6rem } .comparison td.n { white-space: normal } }
@page { margin: 14mm }
@media print {
  :root { font-size: 11px }
  body { max-width: none; padding: 0; font-size: 9pt; line-height: 1.3; color: #000 }
  .note, figcaption, caption { color: #000 } h1 { font-size: 15pt } h2 { font-size: 11pt; margin: 1.4rem 0 .4rem }
  h2, h2 + p, summary, thead { break-after: avoid } thead { display: table-header-group }
  figure, img, tr, .card, .verdict, .confusion, .views { break-inside: avoid }
  .verdict { font-size: 10pt } td:first-child, .confusion tbody th { max-width: 18em }
  .many { font-size: 6.5pt } .gallery figure, .gallery figcaption { font-size: 7pt }
  .wide { overflow: visible } table { max-width: 100% } .big { font-size: 18pt }
  .verdict { background: none; border: 1px solid #000; border-left-width: .4rem }
  .bar, .track, .confusion td { print-color-adjust: exact }
  .gallery { grid-template-columns: repeat(auto-fill, minmax(2.2cm, 1fr)) }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)) } figure > img[width="460"] { max-width: min(10cm, 100%) }
  summary { list-style: none } a { color: inherit } a[download]::after { content: " (a file beside this page)" }
  details::details-content { display: block; content-visibility: visible; block-size: auto }
}
""")


def page(contents, found=(), runs=None, others=()):
    """The page of a run's Contents, a str.

    Args:
      found: [comparing.Against]. runs: all runs of this kind, comparing.Runs, where there are several.
      others: their companions.
    """
    # The first of them is the control, if there is one.
    compared = [pair.run.seed for pair in found[0].pairs["student"]] if found else []
    seeds = len(compared)
    title = sections.title(contents, seeds)
    verdict = comparing.verdict(contents.config, found)
    for budget in (60, 0):      # without thumbnails, if they alone make the page too large
        left = galleries.Budget(budget)
        figures = [sections.accuracies(contents), sections.comparison(found, runs, others)]
        if seeds > 1:       # what is of all seeds stands before what is of one
            figures.reverse()
        body = [
            element("h1", title), sections.summary(contents, compared),
            _verdict(verdict, found), *figures,
            sections.classes(contents), sections.calibration(contents),
            galleries.mistakes(contents, left), galleries.disagreements(contents, left),
            galleries.label_next(contents, left), galleries.views(contents, left),
            sections.curves(contents), sections.signal(contents), sections.settings(contents)]
        text = document(title, body)
        if len(text.encode("utf-8")) <= MOST_BYTES:
            break
    return text


def _verdict(verdict, found):
    if verdict is None:
        return element("p", "This run has no meta gradient: there is nothing to tell of its effect.", class_="note")
    how = None if found else element(
        "p", "python -m mpl_tf.compare --baselines FILE.cfg runs a flag file beside its control and its baseline, "
        "over seeds, and tells.", class_="note")
    return [element("p", with_flags(verdict.sentence), class_=f"verdict {verdict.kind}", id="verdict"), how]


def document(title, body):
    """An HTML document, a str."""
    return "<!DOCTYPE html>\n" + element(
        "html", element(
            "head", element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=Markup(_POLICY)),
            element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
            element("title", title), element("style", _STYLE)),
        element("body", body), lang="en") + "\n"


OPENING = document("", "").partition("<title>")[0]     # of every page, by which one is known
