"""The ratios that the README quotes, in one run: `./run bench`, `./run bench --quick`, `./run bench reading -h`.

Each part runs in a process of its own, one after another. What takes longer has commands of its own: planning
(`benchmarks/scale.py`), the scheduler (`benchmarks/orchestration.py`), memory (`python -m benchmarks.memory`).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

PARTS = {
    "reading": "our reader against the alternatives",
    "shard": "a whole file against what cannot be left out",
    "loader": "random access for training",
    "kernels": "kernels against NumPy and copies",
}


def run_part(name: str, more: list[str]) -> list[dict[str, object]]:
    """Run one part and return its rows; it prints them itself."""
    print(f"\n{name}: {PARTS[name]}", flush=True)
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "rows.json"
        command = [sys.executable, "-m", f"benchmarks.{name}", *more, "--json", str(file)]
        if code := subprocess.run(command, check=False).returncode:  # noqa: S603
            sys.exit(code)
        rows: list[dict[str, object]] = json.loads(file.read_text(encoding="utf-8"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./run bench", description=__doc__.split("\n", 1)[0],
        epilog="Of `reading` alone: --only TEXT, --rounds N, --folder FOLDER; see `python -m benchmarks.reading -h`.",
    )  # fmt: skip
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="little of everything: shows that it runs")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    arguments, more = parser.parse_known_args()
    parts = arguments.parts or (["reading"] if more else list(PARTS))
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: parts are {', '.join(PARTS)}")
    if more and parts != ["reading"]:
        parser.error(f"{' '.join(more)} is known to the part `reading` alone")
    rows = [row for part in parts for row in run_part(part, [*more, *["--quick"] * arguments.quick])]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
