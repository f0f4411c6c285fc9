"""One Python file with what a class needs of this package, to travel with an exported folder.

diffusers takes custom code as single files, so the definitions that a class uses, directly or through others, are
copied out of the package's modules into one. The text of a definition stays as it is, comments included; only imports
from text2latent go away, since what they name is in the same file.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

PACKAGE = "text2latent"
ANNOTATION_FIELDS = ("annotation", "returns")
Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Import:
    """A name that a module imports: `from module import attribute as name`, or `import module` without attribute."""

    module: str
    attribute: str | None
    name: str

    @property
    def is_internal(self) -> bool:
        return self.module.split(".")[0] == PACKAGE

    @property
    def alias(self) -> str:
        """What stands behind the word `import`."""
        plain = self.attribute or self.module
        return plain if self.name in (self.attribute, self.module.split(".")[0]) else f"{plain} as {self.name}"


@dataclass(frozen=True)
class SourceModule:
    name: str
    lines: list[str]
    tree: ast.Module

    @classmethod
    def read(cls, name: str) -> SourceModule:
        """Find a module by its dotted name; it is not imported."""
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None, f"{name}: expected a module with a file"
        text = Path(spec.origin).read_text(encoding="utf-8")
        return cls(name, text.splitlines(), ast.parse(text))

    @cached_property
    def definitions(self) -> dict[str, Definition]:
        """Top-level definitions by name, in order."""
        found: dict[str, Definition] = {}
        for node in self.tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found[node.name] = node
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
                found |= dict.fromkeys(names, node)
        return found

    @cached_property
    def imports(self) -> dict[str, Import]:
        """What the module imports, by name: all of this package, and what it imports for all its functions."""
        inside = {id(node) for part in self.definitions.values() for node in ast.walk(part)}
        found = [(node, one) for node in ast.walk(self.tree) for one in _imports_of(node)]
        return {one.name: one for node, one in found if one.is_internal or id(node) not in inside}

    @cached_property
    def top_level_modules(self) -> list[str]:
        """Modules of this package that must be run before this one."""
        found = [one for node in self.tree.body for one in _imports_of(node) if one.is_internal]
        return list(dict.fromkeys(one.module for one in found))

    def text(self, name: str, dropped: Collection[str]) -> str:
        """Source of a definition, with the comments above it and the docstring below it."""
        node = self.definitions[name]
        start, end = _first_line(node) - 1, node.end_lineno or node.lineno
        while start > 0 and self.lines[start - 1].startswith("#"):
            start -= 1
        position = self.tree.body.index(node)
        following = self.tree.body[position + 1] if position + 1 < len(self.tree.body) else None
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(following, ast.Expr):
            end = following.end_lineno or end
        removed = {line for part in _removed(node, dropped) for line in range(_first_line(part), _last_line(part) + 1)}
        kept = [line for number, line in enumerate(self.lines[start:end], start + 1) if number not in removed]
        return "\n".join(kept).rstrip()


@dataclass
class Bundle:
    """Definitions that have been gathered from modules.

    Attributes:
        dropped: methods to leave out, as `Class.method`.
        replaced: modules in whose place others are taken that define the same names.
        needed: names of definitions by module.
        outside: imports from other packages.
        hints: names of this package that only annotations use.
    """

    dropped: Collection[str] = ()
    replaced: Mapping[str, str] = field(default_factory=dict)
    needed: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    outside: set[Import] = field(default_factory=set)
    hints: set[str] = field(default_factory=set)
    modules: dict[str, SourceModule] = field(default_factory=dict)

    def add(self, module_name: str, name: str) -> None:
        module = self.modules.setdefault(module_name, SourceModule.read(module_name))
        if name in self.needed[module_name]:
            return
        if name in module.imports and name not in module.definitions:
            return self._add_import(module.imports[name])
        self.needed[module_name].add(name)
        node = module.definitions[name]
        for used in _names(node, _removed(node, self.dropped)):
            if used in module.definitions:
                self.add(module_name, used)
            elif used in module.imports:
                self._add_import(module.imports[used])
        for hint in _names_of_annotations(node):
            self._add_hint(module, hint)
        return None

    def _add_import(self, found: Import) -> None:
        if not found.is_internal:
            self.outside.add(found)
            return
        assert found.attribute is not None, f"{found.module}: expected `from` imports in bundled modules"
        assert found.name == found.attribute, f"{found.alias}: expected no other name in bundled modules"
        self.add(self.replaced.get(found.module, found.module), found.attribute)

    def _add_hint(self, module: SourceModule, name: str) -> None:
        found = module.imports.get(name)
        if found is not None and not found.is_internal:
            self.outside.add(found)
        elif found is not None or name in module.definitions:
            self.hints.add(name)

    def order(self) -> list[str]:
        """Modules in an order in which they can be run."""
        ordered: list[str] = []

        def visit(name: str) -> None:
            if name in self.modules and name not in ordered:
                for other in self.modules[name].top_level_modules:
                    visit(self.replaced.get(other, other))
                ordered.append(name)

        for name in list(self.modules):
            visit(name)
        return [name for name in ordered if self.needed[name]]

    def code(self, docstring: str) -> str:
        """The file's text.

        Raises:
            ValueError: when two modules define one name.
        """
        defined = [name for module in self.order() for name in self.needed[module]]
        repeated = {name for name in defined if defined.count(name) > 1}
        if repeated:
            raise ValueError(f"{', '.join(sorted(repeated))}: defined in several bundled modules; rename one")
        hints = sorted(self.hints - set(defined))
        outside = self.outside | ({Import("typing", "Any", "Any")} if hints else set())
        head = [f'"""{docstring}"""', "", "from __future__ import annotations", "", *_import_block(outside)]
        if hints:
            head += ["", "# Named by annotations only.", *(f"{name} = Any" for name in hints)]
        return "\n\n\n".join(["\n".join(head), *self._texts()]) + "\n"

    def _texts(self) -> Iterator[str]:
        for module_name in self.order():
            module, written = self.modules[module_name], set[int]()
            for name, node in module.definitions.items():
                if name in self.needed[module_name] and id(node) not in written:
                    written.add(id(node))
                    yield module.text(name, self.dropped)


def bundle(
    module: str,
    name: str,
    docstring: str,
    dropped: Collection[str] = (),
    replaced: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Python source of a file that defines a class or function of this package without it.

    Args:
        module: dotted name of its module.
        name: of the class or function.
        dropped: methods to leave out, as `Class.method`.
        replaced: modules in whose place others are taken that define the same names.
    """
    gathered = Bundle(dropped, replaced)
    gathered.add(module, name)
    return gathered.code(docstring)


def _import_block(imports: Iterable[Import]) -> list[str]:
    """Lines of imports: Python's own modules first, then the others; `import` before `from`."""
    imports = list(imports)
    plain = sorted(f"import {one.alias}" for one in imports if one.attribute is None)
    by_module: defaultdict[str, list[str]] = defaultdict(list)
    for one in imports:
        if one.attribute is not None:
            by_module[one.module].append(one.alias)
    lines = plain + [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(by_module.items())]
    own = [line for line in lines if line.split()[1].split(".")[0] in sys.stdlib_module_names]
    others = [line for line in lines if line not in own]
    return [*own, *([""] if own and others else []), *others]


def _imports_of(node: ast.AST) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, None, alias.asname or alias.name.split(".")[0])
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            if (node.module, alias.name) != ("__future__", "annotations"):
                yield _from_import(node.module, alias)


def _from_import(module: str, alias: ast.alias) -> Import:
    """An import whose module is the one that defines the name: packages of this project only pass names on."""
    name = alias.asname or alias.name
    if module.split(".")[0] == PACKAGE:
        value = getattr(importlib.import_module(module), alias.name)
        home = getattr(value, "__module__", module) if isinstance(value, type) or callable(value) else module
        # The home of an alias such as `Run = Callable[...]` is another package's.
        module = home if home.split(".")[0] == PACKAGE else module
    return Import(module, alias.name, name)


def _removed(node: ast.AST, dropped: Collection[str]) -> list[ast.stmt]:
    """Statements to leave out of a definition: dropped methods, and imports from this package."""
    imports = [
        one
        for one in ast.walk(node)
        if isinstance(one, ast.ImportFrom) and all(i.is_internal for i in _imports_of(one))
    ]
    methods = [
        one
        for one in (node.body if isinstance(node, ast.ClassDef) else [])
        if isinstance(one, ast.FunctionDef) and f"{getattr(node, 'name', '')}.{one.name}" in dropped
    ]
    return [*imports, *methods]


def _names(node: ast.AST, removed: Collection[ast.AST]) -> Iterator[str]:
    if any(node is one for one in removed):
        return
    if isinstance(node, ast.Name):
        yield node.id
    for key, value in ast.iter_fields(node):
        if key not in ANNOTATION_FIELDS:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _names(child, removed)


def _names_of_annotations(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        for key in ANNOTATION_FIELDS:
            annotation = getattr(one, key, None)
            if isinstance(annotation, ast.AST):
                yield from (part.id for part in ast.walk(annotation) if isinstance(part, ast.Name))


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])


def _last_line(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno
