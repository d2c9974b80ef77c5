"""YAML 1.2 (its core schema), read and written.

PyYAML follows YAML 1.1, where `1:30` is 90, `010` is 8, `off` is false and `1e-4` is a word. Here
a value is what it looks like: numbers are decimal (`0x1f` and `0o17` aside), true and false are
the two booleans, and whatever is neither stays text. Merge keys (`<<`) are read as in YAML 1.1.
Tags that build anything else, and anchors that multiply without bound, are refused.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import yaml

from raysel.common.text import first_line, printable

MOST_NODES = 100_000
"""Values that a text may hold, each anchor counted wherever it is used."""

MOST_LEVELS = 50
"""How deep values may be nested."""

MOST_CHARACTERS = 10_000
"""Of one value."""

MOST_DIGITS = 400
"""Of a whole number: a longer one is not a number that anybody meant."""


class YamlError(Exception):
    """What is wrong with a text, in words.

    Attributes:
        line: where, from 1; None if it is not known.
        key: the key concerned, if it is one.
    """

    def __init__(self, message: str, line: int | None = None, key: str | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.key = key


_PREFIX = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT = (_PREFIX + kind for kind in ("null", "bool", "int", "float"))
_STR, _MERGE, _MAP, _SEQ = (_PREFIX + kind for kind in ("str", "merge", "map", "seq"))

_SCALARS = {
    _NULL: (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    _BOOL: (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    _INT: (re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")),
    _FLOAT: (
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+0123456789."),
    ),
    _MERGE: (re.compile(r"^<<$"), ["<"]),
}
"""The core schema: how a plain value of each type is written, and its first characters."""


class _Loader(yaml.SafeLoader):
    """Knows the types of the core schema alone."""


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would read as something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        """No anchors: what occurs twice is written twice."""
        return True


_Loader.yaml_implicit_resolvers = {}  # without those of YAML 1.1
for _tag, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_tag, _pattern, _first)
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    base = {"0o": 8, "0x": 16}.get(node.value[:2], 10)
    return int(node.value, base)


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = node.value.lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _construct_bool(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    return bool(node.value.lower() == "true")


_Loader.add_constructor(_INT, _construct_int)
_Loader.add_constructor(_FLOAT, _construct_float)
_Loader.add_constructor(_BOOL, _construct_bool)


# --- reading ------------------------------------------------------------------------------


def read(text: str) -> Any:
    """The value that a text holds; None of an empty one.

    Raises:
        YamlError: it is not YAML, or holds what is not read.
    """
    node = compose(text)
    if node is None:
        return None
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error) from None
    finally:
        loader.dispose()


def compose(text: str) -> yaml.Node | None:
    """The nodes of a text, which know their lines; errors as in `read`."""
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"holds a character that YAML does not allow (#x{error.character:04x})"
        raise YamlError(message, line) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # "\UFFFFFFFF"
        raise YamlError(f"is not YAML: {first_line(error)}") from None
    except RecursionError:
        raise YamlError("is nested too deep to be read") from None
    if node is not None:
        _Checked().measure(node)
    return node


def _not_yaml(error: yaml.MarkedYAMLError) -> YamlError:
    line = error.problem_mark.line + 1 if error.problem_mark else None
    return YamlError(f"is not YAML: {error.problem or error.context}", line)


class _Checked:
    """One walk over the nodes of a text, which refuses what is not read."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int]] = {}
        self._open: set[int] = set()

    def measure(self, node: yaml.Node, level: int = 1) -> tuple[int, int]:
        """How many values a node stands for, and how many levels they have."""
        line = node.start_mark.line + 1
        if id(node) in self._open:
            raise YamlError("an anchor holds itself", line)
        if id(node) not in self._known:
            if level > MOST_LEVELS:
                raise YamlError("is nested too deep to be read", line)
            self._open.add(id(node))
            below = [self.measure(child, level + 1) for child in _children(node)]
            self._open.discard(id(node))
            size, height = sum(size for size, _ in below), max((h for _, h in below), default=0)
            self._known[id(node)] = 1 + size, 1 + height
        size, height = self._known[id(node)]
        if level + height > MOST_LEVELS + 1:
            raise YamlError("is nested too deep to be read", line)
        if size > MOST_NODES:
            raise YamlError(f"holds more than {MOST_NODES:,} values", line)
        return size, height


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.ScalarNode):
        _check_scalar(node)
        if node.tag == _MERGE:  # it merges as a key alone
            node.tag = _STR
        return []
    if isinstance(node, yaml.MappingNode):
        _check_tag(node, (_MAP,))
        _check_keys(node)
        return [value for _, value in node.value]
    _check_tag(node, (_SEQ,))
    return list(node.value)


def _check_tag(node: yaml.Node, accepted: tuple[str, ...]) -> None:
    if node.tag not in accepted:
        tag = str(node.tag).replace(_PREFIX, "!!")
        raise YamlError(
            f"only plain YAML values are read; the tag {tag} is refused, leave it out",
            node.start_mark.line + 1,
        )


def _check_scalar(node: yaml.ScalarNode) -> None:
    _check_tag(node, (_NULL, _BOOL, _INT, _FLOAT, _STR, _MERGE))
    line = node.start_mark.line + 1
    kinds = (_INT, _FLOAT) if node.tag == _FLOAT else (node.tag,)
    if node.tag != _STR and not any(_SCALARS[kind][0].match(node.value) for kind in kinds):
        kind = node.tag.replace(_PREFIX, "!!")
        raise YamlError(f'"{node.value[:60]}" is no {kind}; leave the tag out', line)
    if node.tag == _INT and len(node.value) > MOST_DIGITS:
        raise YamlError(f"a number of {len(node.value)} digits is not read", line)
    if len(node.value) > MOST_CHARACTERS:
        raise YamlError(f"a text of {len(node.value):,} characters is not read", line)
    if odd := next((c for c in node.value if _is_odd(c)), None):
        message = f"a text holds the control character #x{ord(odd):02x}; leave it out"
        raise YamlError(message, line)


def _is_odd(character: str) -> bool:
    """Control characters, which a terminal would obey, and halves of a pair of UTF-16."""
    return unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t"


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise YamlError("a key must be a word, not a list or keys", line)
        _check_scalar(key)
        if key.tag not in (_STR, _MERGE):
            message = f'is not a word; put it in quotes as a key: "{key.value}"'
            raise YamlError(message, line, key.value)
        if key.value in seen:
            raise YamlError("is given twice in one place", line, key.value)
        seen.add(key.value)


# --- writing ------------------------------------------------------------------------------


def write(value: Any) -> str:
    """A value as YAML in which `read` finds it again, a line a key."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def in_a_line(value: Any) -> str:
    """A value as YAML on one line: `{float: [0, 1]}`, `1.0`, `"text"`."""
    if isinstance(value, str):
        return f'"{printable(value)}"'
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        width=1_000_000,
        sort_keys=False,
        allow_unicode=True,
    )
    return text.removesuffix("...\n").strip()
