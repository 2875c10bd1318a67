"""YAML as settings are written: plain values, and never at a greater cost than the text's length.

Numbers are those of YAML 1.2: `1:30`, `12_000`, `010` and `2026-01-01` are text, and `1e-3` is a number. Switches are
those of YAML 1.1: `yes` and `on` are true.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cxrkit.errors import ConfigError, shortened, shown

_LONGEST = 500_000  # characters of a text
_LONGEST_KEY = 200
_DEEPEST = 50  # levels, an alias counted as what it stands for
_MOST = 20_000  # values, aliases counted likewise
_LARGEST = 2**63  # whole numbers that a setting may need

_NUMBER = {
    "int": re.compile(r"[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+)"),
    "float": re.compile(
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)"
        r"|\.(nan|NaN|NAN)"
    ),
}
_SWITCH = re.compile("(yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$")
_IMPOSSIBLE = re.compile("[\0\ud800-\udfff]")  # neither a file's name nor UTF-8 text can hold these


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


class _Loader(yaml.SafeLoader):
    """Makes plain values only, and refuses keys that are given twice and aliases that multiply."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012
    yaml_constructors = {  # noqa: RUF012
        key: made
        for key, made in yaml.SafeLoader.yaml_constructors.items()
        if key is None or key in map(_tag, ("null", "bool", "str", "seq", "map"))
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        #: Values and levels of each node, of which an alias makes none of its own.
        self.extent: dict[Any, tuple[int, int]] = {}

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
        else:
            self.depth += 1
            self._expect(self.depth <= _DEEPEST, "nested too deeply for settings", event)
            node = super().compose_node(parent, index)
            self.depth -= 1
            inner = node.value if isinstance(node, yaml.CollectionNode) else []
            found = [self.extent[one] for item in inner for one in (item if isinstance(item, tuple) else (item,))]
            self.extent[node] = (
                1 + sum(size for size, _ in found),
                1 + max((levels for _, levels in found), default=0),
            )
        self._expect(node in self.extent, "an alias within what it stands for", event)
        size, levels = self.extent[node]
        size = max(size, len(self.extent))  # before the rest is read
        self._expect(self.depth + levels <= _DEEPEST, "nested too deeply for settings", event)
        self._expect(size <= _MOST, f"more than {_MOST:,} values", event)
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        found = _IMPOSSIBLE.search(node.value)
        self._expect(not found, f"a character that text can't have ({found and ascii(found[0])[1:-1]})", node)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here and not at construction, which writes merged keys (`<<`) into the node first.
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _tag("merge"):
                continue
            self._expect(len(key.value) <= _LONGEST_KEY, f"a key of {len(key.value):,} characters", key)
            self._expect((key.tag, key.value) not in seen, f"the key {shown(key.value)} is given twice", key)
            seen.add((key.tag, key.value))
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        text, kind = str(self.construct_scalar(node)), node.tag.rpartition(":")[2]
        self._expect(any(one.fullmatch(text) for one in _NUMBER.values()), f"{shown(text)} is not a number", node)
        if kind == "float":
            number = float(re.sub(r"\.(?=[iInN])", "", text))
            self._expect(math.isfinite(number) or text[-1].isalpha(), f"{shown(text)} is too large a number", node)
            return number
        whole = int(text, 0) if len(text) < 25 and _NUMBER["int"].fullmatch(text) else _LARGEST
        self._expect(abs(whole) < _LARGEST, f"{shown(text)} is too large a whole number (quote it if it is text)", node)
        return whole

    def construct_yaml_bool(self, node: yaml.ScalarNode) -> bool:
        text = str(self.construct_scalar(node)).lower()
        self._expect(text in self.bool_values, f"{shown(text)} is neither true nor false", node)
        return bool(self.bool_values[text])

    def _expect(self, condition: object, fault: str, at: Any) -> None:
        if not condition:
            raise yaml.constructor.ConstructorError(None, None, fault, at.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes text that our loader, or one of YAML 1.1, would read as something else."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # Other line ends than \n would come back as spaces, unless they are escaped.
        style = '"' if re.search("[\r\x85\u2028\u2029]", text) else None
        return self.represent_scalar(_tag("str"), text, style=style)


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(_tag("null"), re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
    _side.add_implicit_resolver(_tag("bool"), _SWITCH, list("yYnNtTfFoO"))
    for _kind, _pattern in _NUMBER.items():
        _side.add_implicit_resolver(_tag(_kind), re.compile(f"({_pattern.pattern})$"), list("+-.0123456789"))
    _side.add_implicit_resolver(_tag("merge"), re.compile(r"<<$"), ["<"])
for _kind in _NUMBER:
    _Loader.add_constructor(_tag(_kind), _Loader.construct_number)
_Loader.add_constructor(_tag("bool"), _Loader.construct_yaml_bool)
_Dumper.add_representer(str, _Dumper.represent_text)


def read_value(text: str) -> Any:
    """A value as a configuration file has it.

    Raises:
        ValueError: it can't be read; says in a line where and why.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"longer than {_LONGEST:,} characters, which no settings are")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(shortened(where + " ".join(filter(None, (error.context, error.problem))), 300)) from error
    except yaml.YAMLError as error:
        raise ValueError(shortened(" ".join(str(error).split()), 300)) from error
    except (ValueError, OverflowError) as error:  # from an escape such as \UFFFFFFFF
        raise ValueError("it has the number of a character that doesn't exist") from error


def to_yaml(content: Mapping[str, Any]) -> str:
    """Plain values as YAML that `read_yaml` reads back to equal ones.

    Raises:
        ConfigError: text that can't be UTF-8, such as the name of a folder in another encoding.
    """
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    if re.search(r"\\u[dD][89a-fA-F]", text):  # a surrogate as the dumper writes it
        for value in _texts(content):
            if _IMPOSSIBLE.search(value):
                raise ConfigError(f"{value!a}: this name is not UTF-8.", "Rename the file or folder.")
    return text


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.items() for text in _texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def read_yaml(path: Path) -> dict[str, Any]:
    """A configuration file as a mapping.

    Raises:
        ConfigError: it can't be read or isn't a YAML mapping.
    """
    try:
        with path.open("rb") as stream:  # no more of it than is needed to see that it is too long
            content = read_value(stream.read(4 * _LONGEST + 1).decode("utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ConfigError(f"{path}: there is no such configuration file.", "Check the path.") from error
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a readable YAML file: it is not UTF-8 text.", "Fix the file.") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not a readable YAML file: {error}.", "Fix the file.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds a {type(content).__name__}, not settings.", "Write `key: value` lines.")
    return content
