"""What all commands share: parsing, errors in one line, exit codes, devices, outputs."""

import errno
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from text2latent.common.command import (
    CommandParser,
    check_output_file,
    check_output_folder,
    check_writable_output,
    describe_failure,
    positive_int,
    quick_start,
    run_command,
    select_device,
)
from text2latent.common.errors import InputError, UsageError
from text2latent.configs.schema import SampleConfig, TrainConfig

TRAIN = ["--output", "o", "--data.path", "p"]


def plain_parser() -> CommandParser:
    parser = CommandParser("draw")
    parser.add_argument("--num-images", type=positive_int, default=1, help="Images.")
    parser.add_argument("--text", action="append", help="Prompt.")
    return parser


def fail_with(error: BaseException):
    def run(config):
        raise error

    return run


def test_schema_parser_returns_the_dataclass_with_overrides(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("optimizer: {lr: 1e-4, betas: [0.8, 0.9]}\nmax_steps: 7\nvalidation: {prompts: [a]}\n")
    config = CommandParser("train", schema=TrainConfig).parse(
        [
            *TRAIN,
            "--config",
            str(path),
            "--max-steps=9",
            "--prior.width",
            "64",
            "--validation.prompts+",
            "眼鏡",
            "--csv",
        ]
    )
    assert isinstance(config, TrainConfig)
    assert (config.output, config.data.path, config.max_steps, config.prior.width) == ("o", "p", 9, 64)
    assert (config.optimizer.lr, config.optimizer.betas) == (1e-4, (0.8, 0.9))
    assert config.validation.prompts == ["a", "眼鏡"]
    assert config.csv is True


def test_later_values_win(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("seed: 5\n")
    parser = CommandParser("train", schema=TrainConfig)
    assert parser.parse([*TRAIN, "--seed", "1", "--config", str(path)]).seed == 5
    assert parser.parse([*TRAIN, "--config", str(path), "--seed", "1"]).seed == 1


def test_printed_config_reads_back_as_the_same(tmp_path, capsys):
    parser = CommandParser("train", schema=TrainConfig)
    arguments = [*TRAIN, "--optimizer.lr", "3e-4", "--max-minutes", "2.5"]
    with pytest.raises(SystemExit) as leave:
        parser.parse([*arguments, "--print_config"])
    assert leave.value.code == 0
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    assert yaml.safe_load(path.read_text())["optimizer"]["lr"] == 3e-4
    assert parser.parse(["--config", str(path)]) == parser.parse(arguments)


@pytest.mark.parametrize("schema", [SampleConfig, TrainConfig])
def test_help_has_every_flag_with_dashes_default_and_expectation(schema, capsys):
    with pytest.raises(SystemExit) as leave:
        CommandParser("verb", schema.__doc__, schema).parse(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert leave.value.code == 0
    assert text.startswith("usage: text2latent verb")
    assert "--batch-size" in text or "--data.batch-size" in text
    assert "Expected: a whole number >= 1. (type: int, default: " in text


def test_mistakes_are_one_report_on_stderr_and_exit_2(capsys):
    parser = CommandParser("train", schema=TrainConfig)
    ran = []
    assert run_command(parser, ran.append, ["--optimizer.lr", "nan", "--prior.depth", "0", "--prior.dept", "2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "text2latent train: error: 5 mistakes",
        "  --optimizer.lr: expected a finite number > 0, got 'nan'",
        "  --prior.depth: expected a whole number >= 1, got '0'",
        "  --prior.dept: unknown key, did you mean prior.depth?; got '2'",
        "  --output: missing, expected text other than blank",
        "  --data.path: missing, expected text other than blank",
    ]
    assert ran == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num-images", "0"], "argument --num-images: expected a whole number >= 1, got '0'"),
        (["--num-images"], "--num-images"),
        (["--colour", "red"], "--colour"),
        (["--num", "2"], "--num"),
    ],
)
def test_plain_parser_reports_in_one_line(arguments, words, capsys):
    assert run_command(plain_parser(), fail_with(AssertionError()), arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("text2latent draw: error: ")
    assert words in error
    assert error.count("\n") == 1


def test_plain_help_says_what_a_number_may_be():
    assert "Images. (type: a whole number >= 1, default: 1)" in " ".join(plain_parser().format_help().split())


def test_run_gets_the_config_and_gives_the_exit_code():
    seen = []
    assert run_command(plain_parser(), seen.append, ["--text", "a", "--text", "b"]) == 0
    assert (seen[0].text, seen[0].num_images) == (["a", "b"], 1)
    assert run_command(plain_parser(), lambda config: 3, []) == 3


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("--model: no such folder"), 1, "--model: no such folder"),
        (UsageError("--text: empty"), 2, "--text: empty"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/x.tar"), 1, "/full/x.tar: No space left on device"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), Path("/p")), 1, "/p: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/a", None, "/b"), 1, "/a: /b: No such file"),
        (ConnectionError("refused"), 1, "refused"),
        (MemoryError(), 1, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\n2 GiB"), 1, "out of memory"),
        (RuntimeError("[enforce fail] file write failed: No space left on device"), 1, "No space left on device"),
    ],
)
def test_failures_become_one_line_and_a_code(error, code, words, capsys):
    assert run_command(plain_parser(), fail_with(error), []) == code
    text = capsys.readouterr().err
    assert text.startswith("text2latent draw: error: ")
    assert words in text
    assert text.count("\n") == 1


def test_memory_that_torch_cannot_get_is_a_failure():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert describe_failure(error.value).startswith("out of memory")


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_command(plain_parser(), lambda config: 1 // 0, [])


def test_interruption_says_how_to_go_on(capsys):
    assert run_command(plain_parser(), fail_with(KeyboardInterrupt()), [], resume_hint="run it again") == 130
    assert capsys.readouterr().err.strip() == "text2latent draw: interrupted; run it again"


def test_a_reader_that_left_is_no_traceback():
    code = (
        "import sys; from text2latent.common.command import *;"
        "sys.exit(run_command(CommandParser('x'), lambda c: [print('y' * 100) for _ in range(100000)] and 0, []))"
    )
    ran = subprocess.run([f'{sys.executable} -c "{code}" | head -1'], shell=True, capture_output=True, text=True)
    assert ran.stdout == "y" * 100 + "\n"
    assert ran.stderr == ""


def test_devices_are_selected_and_refused(monkeypatch):
    assert select_device("cpu") == torch.device("cpu")
    assert select_device("auto").type in ("cpu", "cuda", "mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert select_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(InputError, match=f"--device.*'{name}'") as error:
            select_device(name)
        assert error.value.exit_code == 1
    for name in ("gpu", "", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CUDA"):
        with pytest.raises(UsageError, match="expected auto, cpu, cuda"):
            select_device(name)


def test_devices_that_are_there_are_taken_and_their_number_checked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert select_device("auto") == torch.device("cuda")
    assert select_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="expected cuda:0 to cuda:1"):
        select_device("cuda:2")


def test_output_file_must_be_new_unless_overwritten(tmp_path):
    target = tmp_path / "new" / "x.png"
    assert check_output_file(target) == target
    assert not target.parent.exists()
    old = tmp_path / "old.png"
    old.write_text("kept")
    with pytest.raises(InputError, match=r"--output: .*old\.png exists already"):
        check_output_file(old)
    assert check_output_file(old, overwrite=True) == old
    assert old.read_text() == "kept"
    with pytest.raises(InputError, match="is a folder"):
        check_output_file(tmp_path, overwrite=True)
    dangling = tmp_path / "link.png"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="exists already"):
        check_output_file(dangling)


def test_output_folder_may_hold_something_unless_it_must_be_empty(tmp_path):
    (tmp_path / "x").write_text("")
    assert check_output_folder(tmp_path) == tmp_path
    assert check_output_folder(tmp_path / "a" / "b", empty=True) == tmp_path / "a" / "b"
    with pytest.raises(InputError, match="expected a new or empty folder, found x"):
        check_output_folder(tmp_path, empty=True)
    with pytest.raises(InputError, match="is a file"):
        check_output_folder(tmp_path / "x")
    with pytest.raises(InputError, match="is a file"):
        check_output_folder(tmp_path / "x" / "below")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "x"]


def test_unwritable_places_are_refused_before_work():
    with pytest.raises(InputError, match=r"--output: cannot write into /proc"):
        check_output_folder("/proc/text2latent")
    with pytest.raises(InputError, match="cannot write into"):
        check_output_file("/proc/x.png")


def test_writable_output_is_a_folder_or_a_file(tmp_path):
    assert check_writable_output(tmp_path) == tmp_path
    assert check_writable_output(f"{tmp_path}/new/") == tmp_path / "new"
    (tmp_path / "x.png").write_text("")
    with pytest.raises(InputError, match="exists already"):
        check_writable_output(tmp_path / "x.png")


def test_command_helpers_start_without_torch():
    code = "import sys, text2latent.common.command; print(*{'torch', 'lightning'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "\n"


@pytest.mark.parametrize("ending", ["pass", "raise KeyboardInterrupt"])
def test_a_quick_start_keeps_what_it_made_out_of_later_looks_for_garbage(ending):
    code = f"""
import gc
from text2latent.common.command import quick_start
try:
    with quick_start():
        inside, made = gc.isenabled(), [[] for _ in range(1000)]
        {ending}
except KeyboardInterrupt:
    pass
print(inside, gc.isenabled(), gc.get_freeze_count() > 1000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


def test_a_quick_start_leaves_processes_alone_that_have_started_or_collect_no_garbage(monkeypatch):
    frozen = gc.get_freeze_count()
    with quick_start():
        assert gc.isenabled()
    monkeypatch.delitem(sys.modules, "torch")
    gc.disable()
    try:
        with quick_start():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert gc.get_freeze_count() == frozen
