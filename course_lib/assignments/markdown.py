"""Students' Markdown as HTML that cannot harm who reads it, with formulas as MathML.

MathML is shown by browsers themselves, so that the pages need no network.
"""

import html
import re

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

TAG = re.compile(r"</?(?P<name>[a-zA-Z]+)(?P<attributes>(?:\s+[a-zA-Z]+=\"[^\"<>]*\")*)\s*/?>")
TAGS = {
    "math",
    "mrow",
    "mi",
    "mo",
    "mn",
    "mtext",
    "mspace",
    "msub",
    "msup",
    "msubsup",
    "munder",
    "mover",
    "munderover",
    "mfrac",
    "msqrt",
    "mroot",
    "mtable",
    "mtr",
    "mtd",
    "mstyle",
    "mpadded",
    "mphantom",
    "menclose",
}
ATTRIBUTES = {
    "xmlns",
    "display",
    "mathvariant",
    "stretchy",
    "fence",
    "form",
    "separator",
    "minsize",
    "maxsize",
    "width",
    "height",
    "depth",
    "columnalign",
    "columnspacing",
    "rowspacing",
    "accent",
    "accentunder",
    "linethickness",
    "displaystyle",
    "scriptlevel",
    "lspace",
    "rspace",
    "largeop",
    "movablelimits",
    "mathcolor",
    "notation",
    "symmetric",
}


def formula(latex: str, display: str) -> str:
    """Return LaTeX as MathML; as it was written where it cannot be understood, or is no formula.

    ``display`` is 'inline' or 'block'.
    """
    marks = "$" if display == "inline" else "$$"
    written = html.escape(f"{marks}{latex}{marks}")
    try:
        found = convert(latex, display=display)
    except Exception:  # whatever a student's formula makes of the converter
        return written
    for tag in re.findall(r"<[^>]*>?", found):
        match = TAG.fullmatch(tag)
        if not match or match["name"] not in TAGS:
            return written
        if set(re.findall(r"([a-zA-Z]+)=", match["attributes"])) - ATTRIBUTES:
            return written
    return found


class Renderer(IPythonRenderer):
    """nbconvert's renderer with formulas as MathML, and HTML shown instead of obeyed."""

    def inline_math(self, body: str) -> str:
        return formula(body, "inline")

    def block_math(self, body: str) -> str:
        return formula(body, "block")


def to_html(markdown: str) -> str:
    """Return Markdown of whatever origin as HTML without scripts."""
    renderer = Renderer(escape=True, allow_harmful_protocols=False, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(markdown)
