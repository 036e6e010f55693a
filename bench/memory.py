"""Peak memory of triage and report at two sizes of a library: memory.json.

Usage: python bench/memory.py OUT [SMALL LARGE [COMMAND...]]

The libraries are made up from results/demo (synthetic.py), by default of 10,000 and 100,000
conformers, in a folder of its own that is removed. Each COMMAND (triage, report) runs as a process
of its own, and its peak resident memory, processor seconds and output are what the system says of
it. Run it from the root of the repository, after a screening of the demo library.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from probe import tables

CHECKPOINT = "aimnet2-b973c"
SCREENED = Path("results/demo")
PROBE = str(Path(sys.executable).with_name("probe"))
MAKE = str(Path(__file__).with_name("synthetic.py"))
OPTIONS = {
    "triage": ["--checkpoint", CHECKPOINT],
    "report": ["--checkpoint", CHECKPOINT],
}


def peak(command: str, folder: Path) -> dict[str, float]:
    """MB, processor seconds and MB written of ``probe command folder``."""
    arguments = [PROBE, command, str(folder), *OPTIONS[command]]
    if command == "report":
        arguments += ["--out", str(folder / "report.html"), "--figures", str(folder / "figures")]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"probe {command} failed on {folder.name}")
    page = folder / "report.html"
    return {
        "peak_mb": round(used.ru_maxrss / 1024, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "page_mb": round(page.stat().st_size / 2**20, 2) if page.exists() else 0.0,
    }


def main() -> None:
    """Measure and write."""
    out = Path(sys.argv[1])
    sizes = [int(text) for text in sys.argv[2:4]] or [10_000, 100_000]
    commands = sys.argv[4:] or list(OPTIONS)
    scratch = Path(tempfile.mkdtemp(prefix="probe-memory-"))
    found: dict[str, dict[str, object]] = {command: {} for command in commands}
    try:
        for size in sizes:
            # a process of its own: what this one holds would count as its children's
            made = [sys.executable, MAKE, str(SCREENED), str(scratch / str(size)), str(size)]
            subprocess.run(made, check=True)
            for command in commands:
                measured = peak(command, scratch / str(size))
                found[command][str(size)] = measured
                print(command, size, measured, flush=True)
            shutil.rmtree(scratch / str(size))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for command, by_size in found.items():
        small, large = (by_size[str(size)]["peak_mb"] for size in sizes)
        by_size["ratio"] = round(large / small, 3)
        print(f"{command}: {small} MB, {large} MB, ratio {by_size['ratio']}")
    tables.write_json(out, found)


if __name__ == "__main__":
    main()
