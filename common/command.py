"""What every command shares: its parser, its errors in one line, its exit codes, its device and its outputs."""

from __future__ import annotations

import errno
import gc
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from text2latent.common.constraints import (
    finite_float,
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
    seed,
    unit_interval,
)
from text2latent.common.errors import InputError, UsageError, one_line
from text2latent.common.litter import files_of, name_files
from text2latent.common.progress import progress
from text2latent.common.validation import (
    Given,
    check_arguments,
    expectation,
    get_default,
    leaves,
    option_name,
    refuse,
    spell_out,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "CommandParser",
    "check_output_file",
    "check_output_folder",
    "check_writable_output",
    "finite_float",
    "non_negative_float",
    "non_negative_int",
    "positive_float",
    "positive_int",
    "progress",
    "quick_start",
    "run_command",
    "seed",
    "select_device",
    "unit_interval",
    "warnings_in_one_line",
]

INTERRUPTED = 130
DEVICES = "auto, cpu, cuda, cuda:N or mps"
RESUME_HINT = "run the same command again to go on"
Idle = Callable[[Any], Mapping[str, str]]


class CommandParser(ArgumentParser):
    """The parser of one command: raises `UsageError` instead of leaving, and knows the command's schema if it has one.

    With a schema every field is a flag: sections are dotted (`--optimizer.lr 1e-3`), words are joined by dashes or
    underscores, a bare flag of a boolean field means true, and `--config FILE` reads YAML. Without a schema, flags are
    added with `add_argument`, as usual.

    What would be ignored is refused: a flag, or a file's value other than the default, for a key that `idle` says has
    no effect.
    """

    def __init__(
        self, verb: str, description: str | None = None, schema: type | None = None, idle: Idle | None = None
    ) -> None:
        """Make the parser of a verb.

        Args:
            verb: of `text2latent VERB`.
            schema: a dataclass, such as those of `configs.schema`.
            idle: keys without effect in a configuration, each with what was expected instead.
        """
        super().__init__(prog=f"text2latent {verb}", description=description, allow_abbrev=False)
        self.schema, self.idle = schema, idle
        if schema is not None:
            self.add_argument("--config", action="config", help="YAML file with any of the values below.")
            self.add_class_arguments(schema, None)
            self._describe(schema)

    def parse(self, argv: Sequence[str] | None = None) -> Any:
        """Parse a command line into the schema's dataclass, or into a namespace where there is no schema.

        Raises:
            UsageError: with every mistake of files and flags at once when there is a schema, else with the first.
        """
        arguments = list(sys.argv[1:] if argv is None else argv)
        if self.schema is None:
            config = self.parse_args(arguments)
            self._refuse_idle(config, list(self._given_flags(arguments)))
            return config
        arguments = spell_out(arguments, self.schema)
        asks_for_help = {"-h", "--help"} & set(arguments)
        given = [] if asks_for_help else check_arguments(arguments, self.schema)
        values = self.instantiate(self.parse_args(arguments))
        made = self.schema(**{name: value for name, value in vars(values).items() if name != "config"})
        # A run's own config.yaml has all keys; what it doesn't change is nobody's wish.
        wishes = [one for one in given if one.source[0] == "-" or one.value != get_default(one.key, self.schema)]
        self._refuse_idle(made, wishes)
        return made

    def _given_flags(self, arguments: Sequence[str]) -> Iterator[Given]:
        for argument in arguments:
            name = argument.partition("=")[0]
            if name in self._option_string_actions:
                yield Given(self._option_string_actions[name].dest, argument, name)

    def _refuse_idle(self, config: Any, given: Sequence[Given]) -> None:
        idle = {} if self.idle is None else self.idle(config)
        refuse([f"{option_name(one.source)}: {idle[one.key]}" for one in given if one.key in idle])

    def _describe(self, schema: type) -> None:
        """Add to each flag's help what values it takes, and a word on the flags that stand for a section."""
        known = leaves(schema)
        for action in self._actions:
            if action.dest in known:
                action.help = f"{action.help} Expected: {expectation(known[action.dest])}."
            elif any(key.startswith(f"{action.dest}.") for key in known):
                action.help = "YAML file, or YAML in braces, with any of the values of this section."

    def error(self, message: str, ex: Exception | None = None) -> Any:
        raise UsageError(one_line(message, None)) from ex

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """Write the help with dashes in the names of flags."""
        return option_name(super().format_help(*args, **kwargs))


def run_command(
    parser: CommandParser,
    run: Callable[[Any], int | None],
    argv: Sequence[str] | None = None,
    resume_hint: str = RESUME_HINT,
) -> int:
    """Parse `argv`, call `run` with the result, and return the exit code.

    Errors of the user and of the machine become one line on stderr: 2 for a wrong usage, 1 for files, devices, disk,
    memory and network, 130 for Ctrl-C. Any other exception is a bug and passes.
    """
    try:
        return run(parser.parse(argv)) or 0
    except InputError as error:
        return _fail(parser, str(error), error.exit_code)
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: interrupted; {resume_hint}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; without this, Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        message = describe_failure(error)
        if message is None:
            raise
        return _fail(parser, message, 1)


def describe_failure(error: BaseException) -> str | None:
    """Put a failure of the machine (file, disk, memory) into one line; `None` if `error` is none of these."""
    text = one_line(str(error), None)
    if isinstance(error, OSError):
        files = [os.fspath(name) for name in (error.filename, error.filename2) if isinstance(name, (str, os.PathLike))]
        reason = error.strerror or text or type(error).__name__
        return ": ".join([*files, reason])
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return f"out of memory; expected to fit, try a smaller batch size ({text[:200] or 'no more is known'})"
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return f"--compile: torch.compile can't compile a network here, leave the flag out ({text[:200]})"
    if os.strerror(errno.ENOSPC) in text:
        return text[:300]
    return None


def _fail(parser: CommandParser, message: str, code: int) -> int:
    print(f"{parser.prog}: error: {message}", file=sys.stderr)
    return code


@contextmanager
def warnings_in_one_line(verb: str) -> Iterator[None]:
    """Print warnings as one line each on stderr, as `text2latent VERB: warning: ...`."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(
            f"text2latent {verb}: warning: {message}", file=sys.stderr
        )
        yield


@contextmanager
def quick_start() -> Iterator[None]:
    """Import torch, the libraries on it and a model without looks for garbage, where torch is yet to be imported.

    They are hundreds of thousands of objects that stay until the process ends. Python would go through them again and
    again while they are made, and once more at the end: a third of the time of a process that draws one image.
    """
    collects = gc.isenabled()
    if not collects or "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def select_device(name: str = "auto") -> torch.device:
    """Return the device that `--device` names; `auto` takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        UsageError: if the name is none of auto, cpu, cuda, cuda:N and mps.
        InputError: if this machine has no such device.
    """
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (":" in name and not (kind == "cuda" and index.isdecimal())):
        raise UsageError(f"--device: expected {DEVICES}, got {name!r}")
    if kind == "cuda" and not cuda:
        raise InputError(f"--device: no CUDA device is available here, got {name!r}; expected cpu or auto")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device: expected cuda:0 to cuda:{torch.cuda.device_count() - 1}, got {name!r}")
    if kind == "mps" and not mps:
        raise InputError(f"--device: no MPS device is available here, got {name!r}; expected cpu or auto")
    return torch.device(name)


def check_output_file(path: str | os.PathLike[str], overwrite: bool = False, flag: str = "--output") -> Path:
    """Check, before any work, that a file can be written at `path`; nothing is left behind.

    Raises:
        InputError: if something is there already (unless `overwrite`), or the folder cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{flag}: expected a file, {target} is a folder")
    if os.path.lexists(target) and not overwrite:
        raise InputError(f"{flag}: {target} exists already; expected a new name, or --overwrite")
    _check_writable(target.parent, flag)
    return target


def check_output_folder(path: str | os.PathLike[str], empty: bool = False, flag: str = "--output") -> Path:
    """Check, before any work, that files can be written into the folder `path`, which need not exist yet.

    Raises:
        InputError: if it is a file, cannot be written, or holds something although `empty` is asked.
    """
    target = Path(path)
    _check_writable(target, flag)
    if empty and (found := files_of(target)):
        raise InputError(f"{flag}: {target}: expected a new or empty folder, found {name_files(found)}")
    return target


def check_writable_output(path: str | os.PathLike[str], overwrite: bool = False, flag: str = "--output") -> Path:
    """Check an output that may be a file or a folder: a folder if it is one or ends with a slash, else a new file."""
    if Path(path).is_dir() or os.fspath(path).endswith(("/", os.sep)):
        return check_output_folder(path, flag=flag)
    return check_output_file(path, overwrite, flag)


def _check_writable(folder: Path, flag: str) -> None:
    existing = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    if not existing.is_dir():
        raise InputError(f"{flag}: expected a folder, {existing} is a file")
    try:
        # Permission bits do not show read-only file systems, quotas or root: only writing does.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(
            f"{flag}: cannot write into {existing}: {error.strerror}; expected a writable folder"
        ) from error
