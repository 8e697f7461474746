"""Small helpers to write SDF and URDF."""

import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable

from cell_core.transforms import Array, xyz_rpy_from_transform


def add(parent: ElementTree.Element, tag: str, text: object = None, **attributes: str) -> ElementTree.Element:
    """Return a new element below `parent`; floats are written in full."""
    element = ElementTree.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = repr(text) if isinstance(text, float) else str(text)
    return element


def pose(T: Array) -> str:
    """Return a transform as `x y z roll pitch yaw` [m, rad]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at pitch 90 degrees any of the possible angles will do
        xyz_m, rpy_rad = xyz_rpy_from_transform(T)
    return text_of([*xyz_m, *rpy_rad])


def text_of(values: Iterable[float]) -> str:
    """Return numbers as text, to a billionth."""
    # + 0.0 turns a negative zero into zero
    return " ".join(repr(round(float(v), 9) + 0.0) for v in values)


def document(root: ElementTree.Element) -> str:
    """Return an indented XML document."""
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
