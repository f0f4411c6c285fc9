"""A pickle machine that builds plain values and calls nothing but the functions it is given.

Python's own unpickler imports whatever a file names, and lets a few bytes claim gigabytes (a memo of 2^32 slots, a
tuple of tuples that takes 2^60 steps to hash). This one knows the opcodes that files of weights need, resolves
globals in an explicit list only, counts its steps, and hands out byte strings as views of the file, which cost nothing.
The opcodes are documented in Python's `pickletools`.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

MAX_OPCODES = 500_000
MAX_LONG_BYTES = 16
MAX_NAME_BYTES = 256
KEY_TYPES = (str, int, float, bool, type(None))


class PickleError(Exception):
    """A pickle that is damaged, too large for what it holds, or asks for more than plain values; one line."""


class Record(Protocol):
    """What a pickle may give a state to: our own stand-in for a class, never the class itself."""

    def set_state(self, state: Any) -> None:
        """Take the state that the pickle names."""


@dataclass(frozen=True, eq=False)
class Global:
    """The name of a class or function in a pickle, and our own function in its place; None if it stays a name."""

    module: str
    name: str
    call: Callable[..., Any] | None

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


Globals = Mapping[tuple[str, str], Callable[..., Any] | None]


class Budget:
    """Steps and bytes that a file may cost, so that a small file stays cheap."""

    def __init__(self, file_bytes: int) -> None:
        """Allow `MAX_OPCODES` steps, and copies of twice the file's size in bytes and a MiB."""
        self._opcodes = MAX_OPCODES
        self._bytes = 2 * file_bytes + (1 << 20)

    def spend_opcode(self) -> None:
        """Count a step; raises `PickleError` when there are no more."""
        self._opcodes -= 1
        if self._opcodes < 0:
            raise PickleError(f"more than {MAX_OPCODES} pickle opcodes: expected the few that a file of weights takes")

    def spend(self, nbytes: int) -> None:
        """Count bytes to be allocated beyond the file's own; raises `PickleError` when there are no more."""
        self._bytes -= nbytes
        if self._bytes < 0:
            raise PickleError("its values claim more memory than the file's size accounts for")


class PickleMachine:
    """Runs one pickle of a byte view.

    Args:
        data: the bytes; byte strings in the result are views of it.
        known: the globals that may occur, with our own functions in their place.
        budget: shared by all pickles of a file.
        persistent: gives the value of a persistent id; None refuses them.
        start: where the pickle begins in `data`.
    """

    def __init__(
        self,
        data: memoryview,
        known: Globals,
        budget: Budget,
        persistent: Callable[[Any], Any] | None = None,
        start: int = 0,
    ) -> None:
        self.data, self.known, self.budget, self.persistent = data, known, budget, persistent
        self.position = start
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below the open marks
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The value of the pickle at `position`, which is then behind its end; call it again for a stream of pickles.

        Raises:
            PickleError: when the pickle is damaged or does anything but build plain values.
        """
        self.stack, self.outer, self.memo = [], [], {}
        try:
            while (code := self.read(1)[0]) != pickle.STOP[0]:
                self.budget.spend_opcode()
                handler = HANDLERS.get(code)
                if handler is None:
                    raise PickleError(f"pickle opcode {_opcode_name(code)}: not one that a file of weights needs")
                handler(self)
            return self.pop()
        except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
            raise PickleError(f"damaged pickle at byte {self.position}") from error

    def read(self, size: int) -> memoryview:
        """The next `size` bytes."""
        end = self.position + size
        if end > len(self.data):
            raise PickleError(f"truncated: {size} bytes expected at byte {self.position}, the file ends before")
        view = self.data[self.position : end]
        self.position = end
        return view

    def read_number(self, layout: str) -> Any:
        """The next number of a `struct` layout."""
        return struct.unpack(layout, self.read(struct.calcsize(layout)))[0]

    def read_text(self, size: int) -> str:
        """The next `size` bytes as UTF-8."""
        return str(self.read(size), "utf-8", "surrogatepass")

    def read_line(self) -> str:
        """The bytes up to the next line end, which is skipped."""
        window = bytes(self.data[self.position : self.position + MAX_NAME_BYTES])
        if b"\n" not in window:
            raise PickleError(f"a global's name: expected one of less than {MAX_NAME_BYTES} bytes")
        return self.read_text(window.index(b"\n") + 1)[:-1]

    def pop(self) -> Any:
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        """Take all above the last mark."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def find(self, module: Any, name: Any) -> Global:
        """The global of a name; raises `PickleError` for one that isn't in the list."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise PickleError("a global whose name is no text")
        if (module, name) not in self.known:
            named = shown(f"{module}.{name}")
            raise PickleError(f"global {named} is not allowed; expected only tensors and plain containers")
        return Global(module, name, self.known[module, name])

    def call(self, function: Any, arguments: Any) -> Any:
        """Call our own function in place of a global."""
        if not isinstance(function, Global) or function.call is None or not isinstance(arguments, tuple):
            raise PickleError(f"a call of {shown(function)}: expected one of a known constructor")
        try:
            return function.call(*arguments)
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise PickleError(f"{function}: not the arguments it takes: {shown(error, 120)}") from error


def give_state(target: Any, state: Any) -> None:
    """Give a record its state; attributes of dictionaries (such as `_metadata`) are of no use and dropped."""
    if isinstance(target, dict):
        return
    if not hasattr(target, "set_state"):
        raise PickleError(f"a state for {shown(target)}: expected one for an array or a network")
    try:
        target.set_state(state)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise PickleError(f"a wrong state for {shown(target)}: {shown(error, 120)}") from error


def set_items(target: Any, items: list[Any]) -> None:
    """Put alternating keys and values into a dictionary; raises `PickleError` for anything else."""
    if not isinstance(target, dict) or len(items) % 2:
        raise PickleError(f"items for {shown(target)}: expected pairs for a dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[plain_key(key)] = value


def extend(target: Any, items: list[Any]) -> None:
    """Append to a list; raises `PickleError` for anything else."""
    if not isinstance(target, list):
        raise PickleError(f"items for {shown(target)}: expected a list")
    target.extend(items)


def add(target: Any, items: list[Any]) -> None:
    """Add to a set; raises `PickleError` for anything else."""
    if not isinstance(target, set):
        raise PickleError(f"items for {shown(target)}: expected a set")
    target.update(plain_key(item) for item in items)


def plain_key(value: Any) -> Any:
    """`value` if it is text, a number or None: the hash of a nested tuple can take forever."""
    if type(value) not in KEY_TYPES:
        raise PickleError(f"a {type(value).__name__} as a key: expected text or a number")
    return value


def shown(value: Any, width: int = 80) -> str:
    """A value of a file for a message: names and texts on one line, anything else by its type only."""
    if isinstance(value, (str, Exception, Global, int, float, type(None))):
        text = " ".join("".join(char if char.isprintable() else " " for char in str(value)).split())
        return text if len(text) <= width else f"{text[: width - 3]}..."
    return f"a {type(value).__name__}"


def _opcode_name(code: int) -> str:
    names = [opcode.name for opcode in pickletools.opcodes if opcode.code == chr(code)]
    return names[0] if names else f"{code:#04x}"


def _protocol(machine: PickleMachine) -> None:
    version = machine.read(1)[0]
    if version > pickle.HIGHEST_PROTOCOL:
        raise PickleError(f"pickle protocol {version}: expected at most {pickle.HIGHEST_PROTOCOL}")


def _frame(machine: PickleMachine) -> None:
    size = machine.read_number("<Q")
    if size > len(machine.data) - machine.position:
        raise PickleError(f"truncated: a frame of {size} bytes, the file ends before")


def _mark(machine: PickleMachine) -> None:
    machine.outer.append(machine.stack)
    machine.stack = []


def _long(machine: PickleMachine) -> None:
    size = machine.read(1)[0]
    if size > MAX_LONG_BYTES:
        raise PickleError(f"an integer of {size} bytes: expected at most {MAX_LONG_BYTES}")
    machine.stack.append(int.from_bytes(machine.read(size), "little", signed=True))


def _put(index: int, machine: PickleMachine) -> None:
    machine.memo[index] = machine.stack[-1]


def _stack_global(machine: PickleMachine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.stack.append(machine.find(module, name))


def _global(machine: PickleMachine) -> None:
    module = machine.read_line()
    machine.stack.append(machine.find(module, machine.read_line()))


def _instance(machine: PickleMachine) -> None:
    found = machine.find(machine.read_line(), machine.read_line())
    raise PickleError(f"pickle opcode INST of {found}: not one that a file of weights needs")


def _call(machine: PickleMachine) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.stack.append(machine.call(function, arguments))


def _build(machine: PickleMachine) -> None:
    state = machine.pop()
    give_state(machine.stack[-1], state)


def _persistent(machine: PickleMachine) -> None:
    if machine.persistent is None:
        raise PickleError("a persistent id: expected all data inside the pickle")
    try:
        machine.stack.append(machine.persistent(machine.pop()))
    except (TypeError, ValueError, OverflowError) as error:
        raise PickleError(f"a wrong persistent id: {shown(error, 120)}") from error


def _tuple(machine: PickleMachine) -> None:
    items = machine.pop_mark()
    machine.stack.append(tuple(items))


def _tuple_of(count: int) -> Callable[[PickleMachine], None]:
    def handle(machine: PickleMachine) -> None:
        if len(machine.stack) < count:
            raise IndexError
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return handle


def _pushes(make: Callable[[PickleMachine], Any]) -> Callable[[PickleMachine], None]:
    return lambda machine: machine.stack.append(make(machine))


def _on_top(apply: Callable[[Any, list[Any]], None]) -> Callable[[PickleMachine], None]:
    """Handler that gives all above the last mark to the container below it."""

    def handle(machine: PickleMachine) -> None:
        items = machine.pop_mark()
        apply(machine.stack[-1], items)

    return handle


def _append(machine: PickleMachine) -> None:
    item = machine.pop()
    extend(machine.stack[-1], [item])


def _set_item(machine: PickleMachine) -> None:
    value, key = machine.pop(), machine.pop()
    set_items(machine.stack[-1], [key, value])


HANDLERS: dict[int, Callable[[PickleMachine], None]] = {
    code[0]: handler
    for code, handler in {
        pickle.PROTO: _protocol,
        pickle.FRAME: _frame,
        pickle.MARK: _mark,
        pickle.NONE: _pushes(lambda machine: None),
        pickle.NEWTRUE: _pushes(lambda machine: True),
        pickle.NEWFALSE: _pushes(lambda machine: False),
        pickle.BININT: _pushes(lambda machine: machine.read_number("<i")),
        pickle.BININT1: _pushes(lambda machine: machine.read_number("<B")),
        pickle.BININT2: _pushes(lambda machine: machine.read_number("<H")),
        pickle.LONG1: _long,
        pickle.BINFLOAT: _pushes(lambda machine: machine.read_number(">d")),
        pickle.SHORT_BINUNICODE: _pushes(lambda machine: machine.read_text(machine.read_number("<B"))),
        pickle.BINUNICODE: _pushes(lambda machine: machine.read_text(machine.read_number("<I"))),
        pickle.BINUNICODE8: _pushes(lambda machine: machine.read_text(machine.read_number("<Q"))),
        # Python 2 wrote its text as byte strings.
        pickle.SHORT_BINSTRING: _pushes(lambda machine: str(machine.read(machine.read_number("<B")), "latin-1")),
        pickle.BINSTRING: _pushes(lambda machine: str(machine.read(machine.read_number("<I")), "latin-1")),
        pickle.SHORT_BINBYTES: _pushes(lambda machine: machine.read(machine.read_number("<B"))),
        pickle.BINBYTES: _pushes(lambda machine: machine.read(machine.read_number("<I"))),
        pickle.BINBYTES8: _pushes(lambda machine: machine.read(machine.read_number("<Q"))),
        pickle.BYTEARRAY8: _pushes(lambda machine: machine.read(machine.read_number("<Q"))),
        pickle.EMPTY_TUPLE: _pushes(lambda machine: ()),
        pickle.TUPLE: _tuple,
        pickle.TUPLE1: _tuple_of(1),
        pickle.TUPLE2: _tuple_of(2),
        pickle.TUPLE3: _tuple_of(3),
        pickle.EMPTY_LIST: _pushes(lambda machine: []),
        pickle.APPEND: _append,
        pickle.APPENDS: _on_top(extend),
        pickle.EMPTY_DICT: _pushes(lambda machine: {}),
        pickle.SETITEM: _set_item,
        pickle.SETITEMS: _on_top(set_items),
        pickle.EMPTY_SET: _pushes(lambda machine: set()),
        pickle.ADDITEMS: _on_top(add),
        pickle.MEMOIZE: lambda machine: _put(len(machine.memo), machine),
        pickle.BINPUT: lambda machine: _put(machine.read_number("<B"), machine),
        pickle.LONG_BINPUT: lambda machine: _put(machine.read_number("<I"), machine),
        pickle.BINGET: _pushes(lambda machine: machine.memo[machine.read_number("<B")]),
        pickle.LONG_BINGET: _pushes(lambda machine: machine.memo[machine.read_number("<I")]),
        pickle.GLOBAL: _global,
        pickle.INST: _instance,
        pickle.STACK_GLOBAL: _stack_global,
        pickle.REDUCE: _call,
        pickle.NEWOBJ: _call,
        pickle.BUILD: _build,
        pickle.BINPERSID: _persistent,
    }.items()
}
