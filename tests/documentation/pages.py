"""The commands of the pages, and how many of what they ask for."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PROGRAMS = r"text2latent|python|make|pip|source|accelerate|torchrun|sbatch|curl|cp|hf|configs/\S+"
COMMAND = re.compile(rf"^(?: {{4}})?((?:[A-Z0-9_]+=\S+ )*(?:{PROGRAMS}) [^\n]*?)(?:\s+#[^\n]*)?$", re.MULTILINE)
BLOCK = re.compile(r"^```sh\n(.*?)^```$|((?:^ {4}[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
TRANSCRIPT = re.compile(r"^ {4}slurm-wlm|^ {4}sbatch --array|^ {4}from |^ {4}location", re.MULTILINE)
"""What begins or marks indented blocks that nobody types."""

COUNTS = (
    (r"--num-pairs \d+", "--num-pairs 40"),
    (r"--num-images \d+", "--num-images 2"),
    (r"--num-seeds \d+", "--num-seeds 1"),
    (r"--frames \d+", "--frames 3"),
    (r"--iterations \d+", "--iterations 2"),
    (r"--tune\.steps \d+", "--tune.steps 2"),
    (r"--(nproc-per-node|devices) 8", r"--\1 2"),
    (r"NODES=4 PROCESSES=8 HEAD=node0", "NODES=1 PROCESSES=2 HEAD=127.0.0.1"),
)
"""Counts as printed, and those that tests have time for."""

FURTHER = (
    (r"(?:text2latent |python )train\b|torchrun\.sh", "--max_steps 2 --validation.every_steps 2"),
    (r"text2latent sample (?!.*--num-pairs)", "--num-pairs 40"),
    (r"text2latent evaluate --model", "--num-own 40"),
    (r"text2latent optimize (?!.*--iterations)", "--iterations 2"),
    (r"text2latent project (?!.*--steps)", "--candidates 2 --steps 2"),
)
"""Counts that pages leave to the defaults, which are for hours."""


def commands_of(page: Path) -> list[str]:
    """Commands of a page in order, each on a line, without comments."""
    blocks = [first or second for first, second in BLOCK.findall(page.read_text(encoding="utf-8"))]
    typed = [re.sub(r" *\\\n *", " ", block) for block in blocks if not TRANSCRIPT.search(block)]
    return [command for block in typed for command in COMMAND.findall(block)]


def with_small_counts(command: str) -> str:
    for printed, small in COUNTS:
        command = re.sub(printed, small, command)
    return " ".join([command, *(words for pattern, words in FURTHER if re.search(pattern, command))])
