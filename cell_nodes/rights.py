"""What each node of a running cell publishes, hears, serves and asks for; as a policy of SROS 2, and against one."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rclpy.action.graph import get_action_client_names_and_types_by_node, get_action_server_names_and_types_by_node

from cell_core.errors import ConfigurationError
from cell_nodes.names import NAMESPACE

INSIDE_ACTIONS = "/_action/"
"""Topics and services that an action consists of; a policy names the action."""


@dataclass(frozen=True, kw_only=True)
class Rights:
    """Full names of what a node may use."""

    publish: frozenset[str] = frozenset()
    subscribe: frozenset[str] = frozenset()
    reply: frozenset[str] = frozenset()
    request: frozenset[str] = frozenset()
    execute: frozenset[str] = frozenset()
    call: frozenset[str] = frozenset()

    def __or__(self, other: "Rights") -> "Rights":
        return Rights(**{f.name: getattr(self, f.name) | getattr(other, f.name) for f in fields(self)})

    def beyond(self, other: "Rights") -> list[str]:
        """Return in words what these rights hold that others do not."""
        return [
            f"{f.name} {name}" for f in fields(self) for name in sorted(getattr(self, f.name) - getattr(other, f.name))
        ]


ELEMENTS = {
    "publish": ("topics", "topic"),
    "subscribe": ("topics", "topic"),
    "reply": ("services", "service"),
    "request": ("services", "service"),
    "execute": ("actions", "action"),
    "call": ("actions", "action"),
}
"""Element of a policy that lists a right, and what it lists."""


def rights_of(observer: Any, name: str) -> Rights:
    """Return what a node of the cell uses now, as another node sees it."""
    seen = {
        "publish": observer.get_publisher_names_and_types_by_node(name, NAMESPACE),
        "subscribe": observer.get_subscriber_names_and_types_by_node(name, NAMESPACE),
        "reply": observer.get_service_names_and_types_by_node(name, NAMESPACE),
        "request": observer.get_client_names_and_types_by_node(name, NAMESPACE),
        "execute": get_action_server_names_and_types_by_node(observer, name, NAMESPACE),
        "call": get_action_client_names_and_types_by_node(observer, name, NAMESPACE),
    }
    return Rights(**{right: frozenset(n for n, _ in names if INSIDE_ACTIONS not in n) for right, names in seen.items()})


def policy_xml(rights: Mapping[str, Rights]) -> str:
    """Return a policy of SROS 2 (version 0.2.0) with an enclave per node, NAMESPACE/<node>."""
    policy = ElementTree.Element("policy", version="0.2.0")
    enclaves = ElementTree.SubElement(policy, "enclaves")
    for node, held in sorted(rights.items()):
        enclave = ElementTree.SubElement(enclaves, "enclave", path=f"{NAMESPACE}/{node}")
        profiles = ElementTree.SubElement(enclave, "profiles")
        profile = ElementTree.SubElement(profiles, "profile", ns=NAMESPACE, node=node)
        for right, (group, item) in ELEMENTS.items():
            if not getattr(held, right):
                continue
            listed = ElementTree.SubElement(profile, group, {right: "ALLOW"})
            for name in sorted(getattr(held, right)):
                ElementTree.SubElement(listed, item).text = name
    ElementTree.indent(policy)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<!-- Written by tools/write_security_policy.py. -->\n'
    return head + ElementTree.tostring(policy, encoding="unicode") + "\n"


def read_policy(path: Path) -> dict[str, Rights]:
    """Return the rights of each node in a policy.

    Raises:
        ConfigurationError: not XML, or it allows what this reader does not know.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ConfigurationError(f"{path}: no policy: {error}") from error
    return {node: _rights(profile, path) for node, profile in _profiles(root)}


def _profiles(root: ElementTree.Element) -> Iterator[tuple[str, ElementTree.Element]]:
    for profile in root.iter("profile"):
        yield profile.get("node", ""), profile


def _rights(profile: ElementTree.Element, path: Path) -> Rights:
    found: dict[str, frozenset[str]] = {}
    for group in profile:
        for right, word in group.attrib.items():
            if word != "ALLOW" or ELEMENTS.get(right, ("",))[0] != group.tag:
                raise ConfigurationError(
                    f"{path}: profile {profile.get('node')!r}: {group.tag} {right}={word!r} unknown"
                )
            found[right] = found.get(right, frozenset()) | {(item.text or "").strip() for item in group}
    return Rights(**found)
