"""From a chart to SVG that belongs to the page: its colours, its font, values on hover.

Vega-Lite draws (vl-convert, without a browser); then placeholder colours become CSS variables, the
labels of marks become ``<title>``, and what is of no use on a page goes.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

__all__ = ["COLOURS", "FIRST", "HEIGHT", "INK", "LINE", "SECOND", "THIRD", "draw"]

WIDTH, HEIGHT = 430, 170
# Placeholders that Vega takes for colours; the page's stylesheet gives the real ones.
COLOURS: Mapping[str, str] = {
    "#00000a": "var(--ink-2)",
    "#00000b": "var(--line)",
    "#0000c1": "var(--c1)",
    "#0000c2": "var(--c2)",
    "#0000c3": "var(--c3)",
}
INK, LINE, FIRST, SECOND, THIRD = COLOURS


def draw(chart: Any, title: str, height: int = HEIGHT) -> Markup:
    """Draw a chart and return it as SVG that belongs to the page."""
    import vl_convert  # noqa: PLC0415  # only a run with load pays for it

    font = "sans-serif"  # measured with it; the page's own font is drawn
    axis = {"labelColor": INK, "titleColor": INK, "gridColor": LINE, "domainColor": LINE,
            "tickColor": LINE, "labelFont": font, "titleFont": font, "labelFontSize": 11,
            "titleFontSize": 11, "titleFontWeight": "normal", "labelOverlap": "greedy",
            "labelSeparation": 6}  # fmt: skip
    spec = (
        chart.properties(width=WIDTH, height=height, background="transparent")
        .configure_view(stroke=None)
        .configure_axis(**axis)
        .configure_legend(labelColor=INK, labelFont=font, labelFontSize=11)
        .to_dict()
    )
    return _adopt(vl_convert.vegalite_to_svg(spec), title)


def _adopt(svg: str, title: str) -> Markup:
    """Make a drawing the page's own: its colours, its font, values on hover, no ids."""
    ET.register_namespace("", "http://www.w3.org/2000/svg")
    root = ET.fromstring(svg)  # noqa: S314  # drawn by us a moment ago
    name = "{http://www.w3.org/2000/svg}"
    for element in root.iter():
        for key in ("fill", "stroke"):
            colour = COLOURS.get(element.get(key, "").lower())
            if colour:
                element.set(key, colour)
        says = element.attrib.pop("aria-label", None)
        for key in ("role", "aria-roledescription", "aria-hidden", "font-family", "class"):
            element.attrib.pop(key, None)
        if says and element.tag == f"{name}path":
            element.set("class", "hover")
            ET.SubElement(element, f"{name}title").text = says
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{name}rect" and child.get("fill") == "transparent":
                parent.remove(child)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.set("role", "img")
    root.set("aria-label", title)
    text = ET.tostring(root, encoding="unicode")
    text = re.sub(r"(\d\.\d{2})\d+", r"\1", text)
    return Markup(text)  # noqa: S704  # every text in it went through ElementTree
