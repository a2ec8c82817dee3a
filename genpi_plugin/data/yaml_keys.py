"""Keys that a YAML or JSON file holds twice: its readers take the last and drop the others."""

from __future__ import annotations

import yaml


def repeated_key(source: str) -> str:
    """In words, the first key that a mapping holds twice, with both lines; "" if there is none.

    Args:
        source: YAML or JSON; of what can't be parsed nothing is said.
    """
    try:
        nodes = [yaml.compose(source, Loader=yaml.SafeLoader)]
    except (yaml.YAMLError, RecursionError):
        return ""
    seen: set[int] = set()  # an alias is a node that was there before
    while nodes:
        node = nodes.pop(0)
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            nodes.append(value)
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                return (
                    f"line {line}: the key `{key.value}` stands in line {lines[key.value]} already"
                )
            lines[key.value] = line
    return ""
