"""Measured commands: their time, their memory, their imports and their failures."""

import subprocess
import sys

import numpy as np
import pytest

from text2latent.benchmarks.timing import import_seconds, peak_memory, run_measured
from text2latent.common.errors import InputError

MIB = 2**20
BIG = 200
"""MiB that a child of a child takes."""


def test_seconds_are_those_of_the_command():
    ran = run_measured([sys.executable, "-c", "import time; time.sleep(0.3)"])
    assert 0.3 <= ran.seconds < 30


def test_processor_time_counts_children_and_no_sleep():
    busy = "import time\nwhile time.process_time() < 0.4: pass"
    parent = (
        f"import subprocess, sys, time; time.sleep(0.5); subprocess.run([sys.executable, '-c', {busy!r}], check=True)"
    )
    ran = run_measured([sys.executable, "-c", parent])
    assert ran.processor_seconds >= 0.4
    assert ran.seconds >= 0.5 + 0.4


def test_memory_counts_the_largest_child_too():
    child = f"b'x' * {BIG * MIB}"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    ran = run_measured([sys.executable, "-c", parent])
    assert BIG * MIB <= ran.peak_bytes < 2 * BIG * MIB


def test_memory_is_not_that_of_the_process_that_measures():
    """A process's `ru_maxrss` starts from the peak of the one that starts it."""
    large = np.ones(BIG * MIB, np.uint8)
    assert large.nbytes <= peak_memory()
    code = "from text2latent.benchmarks.timing import peak_memory; print(peak_memory())"
    own = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 4 * MIB < int(own) < BIG * MIB
    assert run_measured([sys.executable, "-c", "pass"]).peak_bytes < BIG * MIB


def test_failure_is_one_line_with_the_last_of_stderr():
    with pytest.raises(InputError, match=r"exit code 3: second$"):
        run_measured([sys.executable, "-c", "import sys; print('first\\nsecond', file=sys.stderr); sys.exit(3)"])


def test_imports_are_summed_by_top_level_package():
    stderr = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:        50 |         50 |   encodings\n"
        "import time:       100 |        100 |   torch.nn\n"
        "a line of something else\n"
        "import time:       200 |        300 | torch\n"
    )
    assert list(import_seconds(stderr).items()) == [("torch", pytest.approx(3e-4)), ("encodings", pytest.approx(5e-5))]


def test_imports_of_a_real_process_are_read():
    ran = run_measured([sys.executable, "-X", "importtime", "-c", "import json.decoder, xml.dom"])
    seconds = import_seconds(ran.stderr)
    assert {"json", "xml"} <= set(seconds)
    assert 0 < sum(seconds.values()) < ran.seconds
    plain = subprocess.run([sys.executable, "-c", "import json"], capture_output=True, text=True)
    assert not import_seconds(plain.stderr)
