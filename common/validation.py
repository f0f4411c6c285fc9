"""All mistakes of a configuration at once, each with its key, its value and what was expected."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, get_loader

from text2latent.common.constraints import Constraint, Filled, Range
from text2latent.common.errors import InputError, UsageError, one_line

_WORDS = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false", type(None): "null"}
_PLURALS = {int: "whole numbers", float: "finite numbers", str: "texts", bool: "true or false values"}
_MISSING = object()


@dataclass(frozen=True)
class Given:
    """A value that a file or a flag gives to a key; `source` is the flag, or the file and the key."""

    key: str
    value: object
    source: str


def leaves(schema: type, prefix: str = "") -> dict[str, Any]:
    """List the dotted keys of a dataclass of dataclasses with their annotations, constraints included."""
    found: dict[str, Any] = {}
    hints = get_type_hints(schema, include_extras=True)
    for field in dataclasses.fields(schema):
        key, annotation = prefix + field.name, hints[field.name]
        found |= leaves(annotation, f"{key}.") if _is_section(annotation) else {key: annotation}
    return found


def required(schema: type, prefix: str = "") -> list[str]:
    """List the dotted keys that have no default."""
    found: list[str] = []
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        key, annotation = prefix + field.name, hints[field.name]
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if _is_section(annotation) and not has_default:
            found += required(annotation, f"{key}.")
        elif not has_default:
            found.append(key)
    return found


def _is_section(annotation: Any) -> bool:
    return dataclasses.is_dataclass(annotation)


def option_name(text: str) -> str:
    """Write the names of flags in `text` with dashes between words: `--batch_size` becomes `--batch-size`."""
    return re.sub(r"--[a-z][\w.]*", lambda match: match[0].replace("_", "-"), text)


def spell_out(arguments: Sequence[str], schema: type) -> list[str]:
    """Bring flags into the form that jsonargparse knows: underscores between words, a value for every boolean."""
    booleans = {f"--{key}" for key, annotation in leaves(schema).items() if _strip(annotation) is bool}
    spelled = []
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = f"--{name[2:].replace('-', '_')}"
        following = arguments[position + 1] if position + 1 < len(arguments) else "--"
        if name in booleans and not equals and following.startswith("--"):
            equals, value = "=", "true"
        spelled.append(name + equals + value)
    return spelled


def check_arguments(arguments: Sequence[str], schema: type) -> list[Given]:
    """Check a command line, and the files that it names, against a schema.

    Args:
        arguments: as `spell_out` returns them.

    Returns:
        The values that are given.

    Raises:
        UsageError: naming every mistake: unknown keys, wrong types, values out of range, missing values.
        InputError: if a file cannot be read.
    """
    known = leaves(schema)
    given = list(_read_arguments(arguments, known))
    mistakes = [mistake for one in given if (mistake := find_mistake(one, known))]
    if not any(argument.startswith("--print_config") for argument in arguments):
        missing = [key for key in required(schema) if key not in {one.key for one in given}]
        mistakes += [f"{option_name(f'--{key}')}: missing, expected {expectation(known[key])}" for key in missing]
    refuse(mistakes)
    return given


def refuse(mistakes: Sequence[str]) -> None:
    """Raise `UsageError` with all mistakes, if there are any."""
    if len(mistakes) == 1:
        raise UsageError(mistakes[0])
    if mistakes:
        raise UsageError("\n  ".join([f"{len(mistakes)} mistakes", *mistakes]))


def get_default(key: str, schema: type) -> Any:
    """The default of a dotted key of a dataclass of dataclasses; None where it has none."""
    name, _, rest = key.partition(".")
    field = next(field for field in dataclasses.fields(schema) if field.name == name)
    if rest:
        return get_default(rest, get_type_hints(schema)[name])
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def find_mistake(given: Given, known: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a given value, with its key and what was expected; `None` if it is right."""
    key = given.key.removesuffix("+")
    if any(name.startswith(f"{key}.") for name in known):
        return f"{given.source}: expected a section of keys and values, got {_show(given.value)}"
    if key not in known:
        near = difflib.get_close_matches(key, known, 1)
        return f"{given.source}: unknown key{f', did you mean {near[0]}?' if near else ''}; got {_show(given.value)}"
    annotation = get_args(_strip(known[key]))[0] if given.key.endswith("+") else known[key]
    wanted = expectation(annotation)
    if given.value is _MISSING:
        return f"{given.source}: expected {wanted}, got nothing"
    return None if _fits(given.value, annotation) else f"{given.source}: expected {wanted}, got {_show(given.value)}"


def expectation(annotation: Any) -> str:
    """Put an annotation into words: `a whole number >= 1`, `one of cosine, constant`, `a list of texts`."""
    kind, arguments = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        constraints = [part.describe() for part in arguments[1:] if isinstance(part, (Range, Filled))]
        return " ".join([expectation(arguments[0]), *filter(None, constraints)])
    if kind in (Union, types.UnionType):
        return " or ".join(expectation(argument) for argument in arguments)
    if kind is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if kind is dict:
        return "keys and values"
    if kind in (list, tuple):
        length = "" if kind is list else f"{len(arguments)} "
        return f"a list of {length}{_plural(arguments[0])}"
    return _WORDS[annotation]


def _plural(annotation: Any) -> str:
    constraints = _constraints(annotation)
    return " ".join([_PLURALS[_strip(annotation)], *(constraint.describe() for constraint in constraints)])


def _strip(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _constraints(annotation: Any) -> list[Constraint]:
    return [part for part in get_args(annotation)[1:] if isinstance(part, (Range, Filled))]


def _fits(value: object, annotation: Any) -> bool:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=annotation)
    try:
        parsed = parser.parse_object({"value": value}).value
    except Exception:
        # jsonargparse raises many kinds; whichever it is, the value is not of this type.
        return False
    return _within(parsed, annotation)


def _within(value: object, annotation: Any) -> bool:
    """Check the constraints of a value whose type is right, and of its items; every float must be finite."""
    kind, arguments = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return all(part.allows(value) for part in _constraints(annotation)) and _within(value, arguments[0])
    if kind in (Union, types.UnionType):
        return value is None or any(_within(value, argument) for argument in arguments if argument is not type(None))
    if kind is dict:
        return isinstance(value, dict)
    if kind in (list, tuple) and isinstance(value, (list, tuple)):
        items = arguments * len(value) if kind is list else arguments
        return all(_within(item, argument) for item, argument in zip(value, items, strict=False))
    return not isinstance(value, float) or math.isfinite(value)


def _read_arguments(arguments: Sequence[str], known: Mapping[str, Any]) -> Iterator[Given]:
    remaining = list(arguments)
    while remaining:
        name, equals, value = remaining.pop(0).partition("=")
        if name in ("--print_config", "--"):
            continue
        if not name.startswith("--"):
            raise UsageError(f"unexpected argument {_show(name)}; expected flags such as --{next(iter(known))}")
        given: object = value
        if not equals:
            given = remaining.pop(0) if remaining and not remaining[0].startswith("--") else _MISSING
        yield from _expand(name, given, known)


def _expand(flag: str, value: object, known: Mapping[str, Any]) -> Iterator[Given]:
    """Turn one flag into the values it gives: a file gives many, so does a section; all others give one."""
    key, source = flag[2:], option_name(flag)
    section = any(name.startswith(f"{key}.") for name in known)
    if not isinstance(value, str) or not (section or key == "config"):
        if key == "config":
            raise UsageError("--config: expected a YAML file, got nothing")
        yield Given(key, value, source)
        return
    inline = _load(value, source) if section and not Path(value).is_file() else None
    tree = inline if isinstance(inline, dict) else read_yaml(value, source)
    place = source if inline is not None else value
    yield from _flatten(tree, known, f"{key}." if section else "", place)


def _flatten(tree: Mapping[Any, object], known: Mapping[str, Any], prefix: str, place: str) -> Iterator[Given]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and any(leaf.startswith(f"{key}.") for leaf in known):
            yield from _flatten(value, known, f"{key}.", place)
        else:
            yield Given(key, value, f"{place}: {key}")


def read_yaml(path: str, source: str = "--config") -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        InputError: if it cannot be read, is no YAML, or holds something else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{source}: cannot read {path}: {reason}; expected a YAML file") from error
    tree = _load(text, f"{source}: {path}")
    if not isinstance(tree, dict):
        raise InputError(f"{source}: {path}: expected keys and values, got {_show(tree)}")
    return tree


def _load(text: str, source: str) -> Any:
    try:
        return get_loader("yaml")(text)
    except yaml.YAMLError as error:
        raise InputError(f"{source}: expected YAML, got {one_line(error)}") from error


def _show(value: object, width: int = 60) -> str:
    if value is _MISSING:
        return "nothing"
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."
