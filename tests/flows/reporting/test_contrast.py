"""The report's colours by WCAG AA in every scheme: text stands out by 4.5 to 1, marks and edges of controls by 3."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import product

import pytest

from tests.cases import each_case

CSS = files("flows.reporting").joinpath("page.css").read_text("utf-8")
SCRIPT = files("flows.reporting").joinpath("page.js").read_text("utf-8")
BLOCKS = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
LIGHT, DARK, PRINT = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})", block)) for block in BLOCKS)
SCHEMES = {"light": LIGHT, "dark": LIGHT | DARK, "print": LIGHT | PRINT}

TEXT = {*product(("ink", "soft", "accent", "up", "down"), ("paper", "band"))}
TEXT |= {("warn-ink", "warn-paper"), ("paper", "accent")}
MARKS = {*product(("accent", "other", "soft", "ink"), ("paper",)), ("accent", "band")}
DECORATION = {"line", "paper", "band", "warn-line"}
"""Rules, grids and backgrounds, which say nothing by themselves."""


def luminance(colour: str) -> float:
    """Relative luminance of a colour (WCAG 2.2): 0 is black, 1 is white."""
    digits = colour.removeprefix("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    channels = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_measure_is_wcags() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.01)


@each_case(("pairs", "least"), [(TEXT, 4.5), (MARKS, 3)])
@each_case("scheme", SCHEMES)
def test_text_and_marks_stand_out(scheme: str, pairs: set[tuple[str, str]], least: float) -> None:
    colours = SCHEMES[scheme]
    found = {(one, on): contrast(colours[one], colours[on]) for one, on in pairs}
    assert {pair: round(ratio, 2) for pair, ratio in found.items() if ratio < least} == {}


def test_every_colour_of_the_page_is_among_those() -> None:
    used = set(re.findall(r"[ ;{]color: var\(--([a-z-]+)\)", CSS))
    assert used == {one for one, _ in TEXT}
    drawn = set(re.findall(r'style\("--([a-z-]+)"\)', SCRIPT)) | set(re.findall(r"stroke: var\(--([a-z-]+)\)", CSS))
    assert drawn <= {one for one, _ in MARKS} | DECORATION
    named = set(re.findall(r"var\(--([a-z-]+)\)", CSS)) | drawn
    assert named == LIGHT.keys()
