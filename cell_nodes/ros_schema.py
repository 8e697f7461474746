"""Message definitions as MCAP wants them (schema encoding ros2msg), read from the Python message classes."""

import re
from typing import Any

PLAIN = {"boolean": "bool", "octet": "byte", "float": "float32", "double": "float64"}
SEPARATOR = "=" * 80
_SEQUENCE = re.compile(r"^sequence<(?P<inner>.+?)(?:, (?P<bound>\d+))?>$")
_ARRAY = re.compile(r"^(?P<inner>.+)\[(?P<size>\d+)\]$")


def schema_name(message_class: Any) -> str:
    """Return the full name, such as sensor_msgs/msg/JointState."""
    return f"{message_class.__module__.split('.')[0]}/msg/{message_class.__name__}"


def schema_text(message_class: Any) -> str:
    """Return the definition of a message type followed by those of all types it holds.

    Constants and defaults are not part of the wire format and are left out.
    """
    order = [message_class]
    texts: list[str] = []
    for kind in order:
        lines = []
        for name, slot in kind.get_fields_and_field_types().items():
            text, inner = _field_type(slot)
            lines.append(f"{text} {name}")
            if "/" in inner:
                found = _class_of(inner)
                if found not in order:
                    order.append(found)
        body = "\n".join(lines) + "\n"
        short = f"{kind.__module__.split('.')[0]}/{kind.__name__}"
        texts.append(body if kind is message_class else f"{SEPARATOR}\nMSG: {short}\n{body}")
    return "".join(texts)


def _field_type(slot: str) -> tuple[str, str]:
    if match := _SEQUENCE.match(slot):
        inner = _field_type(match["inner"])
        bound = match["bound"]
        return f"{inner[0]}[{'<=' + bound if bound else ''}]", inner[1]
    if match := _ARRAY.match(slot):
        inner = _field_type(match["inner"])
        return f"{inner[0]}[{match['size']}]", inner[1]
    if slot.startswith(("string<", "wstring<")):
        return slot.replace("<", "<=").rstrip(">"), ""
    return PLAIN.get(slot, slot), slot


def _class_of(name: str) -> Any:
    package, kind = name.split("/")
    return getattr(__import__(f"{package}.msg", fromlist=[kind]), kind)
