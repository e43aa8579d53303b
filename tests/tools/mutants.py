"""Mutation check: do the tests notice when the code is wrong?

    python -m tests.tools.mutants                     every mutation, as a table
    python -m tests.tools.mutants --json FILE         the same, also as JSON
    python -m tests.tools.mutants --only sink,digest  some of them, by name
    python -m tests.tools.mutants --list              only look the snippets up

Each mutation replaces one snippet of `emosteer/` or `demo/` in a copy of the tree, and runs the tests that should fail.
The mutations stand in `mutations.py`. A snippet is searched for in all files, so code may move; where it is reworded,
update it there: a snippet that is not found, or found twice, is an error. The tests are run once without a mutation
first, and must pass.

`--layout old` is for trees in which all test files stand in `tests/` itself, `--root` for another tree than this one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.tools.mutations import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
SEARCHED = ("emosteer", "demo")
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "dist", "build")
TIMEOUT = 600
"""Seconds after which a mutation counts as killed: it hangs."""

OLD_NAMES = {
    "demo/test_api.py": "tests/test_demo_api.py",
    "demo/test_figures.py": "tests/test_demo_figures.py",
    "demo/test_talk.py": "tests/test_demo_talk.py",
    "eval/test_judges.py": "tests/test_eval.py",
    "eval/test_steering.py": "tests/test_eval_steering.py",
    "export/test_gguf.py": "tests/test_export_gguf.py",
    "model/test_chat_each.py": "tests/test_each.py",
    "reading/test_explain.py": "tests/test_explaining.py",
    "reading/test_token_text.py": "tests/test_pieces.py",
    "steering/test_logits_processor.py": "tests/test_logits.py",
    "vectors/test_emotion_vectors.py": "tests/test_vectors.py",
}
"""Test files that have changed their names; the others have only moved."""


def main() -> int:
    """Run the mutations; the number of those that no test noticed, or that could not be run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree; it stays as it is")
    parser.add_argument("--layout", choices=("new", "old"), default="new", help="where the tests stand")
    parser.add_argument("--only", default="", help="names, or parts of names, with commas between")
    parser.add_argument("--json", type=Path, help="also write the results here")
    parser.add_argument("--list", action="store_true", help="look the snippets up and run nothing")
    options = parser.parse_args()
    wanted = [part for part in options.only.split(",") if part]
    mutants = [mutant for mutant in MUTANTS if not wanted or any(part in mutant.name for part in wanted)]
    places = _places(options.root, mutants)
    missing = _missing_tests(options.root, mutants, options.layout)
    if problems := [where for where in places.values() if isinstance(where, str)] + missing:
        print("\n".join(problems), file=sys.stderr)
        return len(problems)
    if options.list:
        for name, path in places.items():
            print(f"{name:32} {path}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(options.root, copy, ignore=LEFT_OUT)
        tests = sorted({_test(mutant, options.layout) for mutant in mutants})
        status, seconds, output = _run(copy, tests)
        if status != 0:
            print(f"Without a mutation the tests do not pass:\n{output}", file=sys.stderr)
            return 1
        print(f"without a mutation: passed, {seconds:.0f} s", flush=True)
        rows = [_tried(copy, mutant, places[mutant.name], options.layout) for mutant in mutants]
    killed = sum(row["result"] == "killed" for row in rows)
    print(f"{killed} of {len(rows)} killed, {sum(row['seconds'] for row in rows):.0f} s")
    if options.json:
        options.json.write_text(json.dumps({"killed": killed, "mutants": rows}, ensure_ascii=False, indent=1) + "\n")
    return len(rows) - killed


def _test(mutant: Mutant, layout: str) -> str:
    """The test of a mutant by the name that it has in a layout."""
    path, *name = mutant.test.split("::")
    path = f"tests/{path}" if layout == "new" else OLD_NAMES.get(path, f"tests/{Path(path).name}")
    return "::".join([path, *name])


def _places(root: Path, mutants: Sequence[Mutant]) -> dict[str, Path | str]:
    """Name → the file that holds the snippet, relative to the root, or what is wrong with it."""
    sources = {
        path.relative_to(root): path.read_text()
        for folder in SEARCHED
        for path in sorted((root / folder).rglob("*.py"))
    }
    places: dict[str, Path | str] = {}
    for mutant in mutants:
        paths = [path for path, text in sources.items() for _ in range(text.count(mutant.before))]
        if len(paths) == 1:
            places[mutant.name] = paths[0]
        else:
            where = ", ".join(map(str, paths)) or "no file"
            places[mutant.name] = f"{mutant.name!r}: the snippet {mutant.before!r} must stand once, it is in {where}"
    return places


def _missing_tests(root: Path, mutants: Sequence[Mutant], layout: str) -> list[str]:
    problems = []
    for mutant in mutants:
        test = _test(mutant, layout)
        path, _, name = test.partition("::")
        if not (root / path).is_file() or f"def {name}" not in (root / path).read_text():
            problems.append(f"{mutant.name!r}: there is no test {test}")
    return problems


def _tried(copy: Path, mutant: Mutant, place: Path | str, layout: str) -> dict[str, object]:
    path = copy / place
    original = path.read_text()
    path.write_text(original.replace(mutant.before, mutant.after))
    try:
        status, seconds, output = _run(copy, [_test(mutant, layout)])
    finally:
        path.write_text(original)
    # 1 is a test that failed; a mutation that breaks the import has tested nothing.
    result = {0: "survived", 1: "killed", None: "killed"}.get(status, "not run")
    by = next((line.split()[1] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))), "")
    print(f"{mutant.name:32} {result:9} {seconds:5.1f} s  {by}", flush=True)
    return {
        "name": mutant.name,
        "file": str(place),
        "before": mutant.before,
        "after": mutant.after,
        "result": result,
        "by": by,
        "seconds": round(seconds, 1),
    }


def _run(copy: Path, tests: Sequence[str]) -> tuple[int | None, float, str]:
    """Exit status of pytest, None where it hangs, with the seconds and the output."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{copy}{os.pathsep}{copy / 'demo'}",
        "PYTHONDONTWRITEBYTECODE": "1",  # compiled code of a mutation within the same second would stay in force
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=line", *tests]
    start = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return None, time.monotonic() - start, ""
    return done.returncode, time.monotonic() - start, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
