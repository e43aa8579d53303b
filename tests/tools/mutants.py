"""Mutation check: do the tests notice when the code is wrong?

    python -m tests.tools.mutants                     every mutation, as a table
    python -m tests.tools.mutants --json FILE         the same, also as JSON
    python -m tests.tools.mutants --only sink,digest  some of them, by name
    python -m tests.tools.mutants --list              only look the snippets up

Each mutation replaces one snippet of `emosteer/` or `demo/` in a copy of the tree, and runs the tests that should fail.
A snippet is searched for in all files, so code may move; where it is reworded, update it here: a snippet that is not
found, or found twice, is an error. The tests are run once without a mutation first, and must pass.

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
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEARCHED = ("emosteer", "demo")
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "dist", "build")
TIMEOUT = 600
"""Seconds after which a mutation counts as killed: it hangs."""

OLD_NAMES = {
    "tests/demo/test_api.py": "tests/test_demo_api.py",
    "tests/demo/test_figures.py": "tests/test_demo_figures.py",
    "tests/demo/test_talk.py": "tests/test_demo_talk.py",
    "tests/eval/test_judges.py": "tests/test_eval.py",
    "tests/eval/test_steering.py": "tests/test_eval_steering.py",
    "tests/export/test_gguf.py": "tests/test_export_gguf.py",
    "tests/model/test_chat_each.py": "tests/test_each.py",
    "tests/reading/test_explain.py": "tests/test_explaining.py",
    "tests/reading/test_token_text.py": "tests/test_pieces.py",
    "tests/steering/test_logits_processor.py": "tests/test_logits.py",
    "tests/vectors/test_emotion_vectors.py": "tests/test_vectors.py",
}
"""Test files that have changed their names; the others have only moved."""


@dataclass(frozen=True)
class Mutant:
    """A way of being wrong.

    Args:
        name: Short and unique.
        before: A snippet that stands once in the searched folders.
        after: What takes its place.
        tests: Files or tests, as pytest names them, that should fail.
    """

    name: str
    before: str
    after: str
    tests: tuple[str, ...]


HOOKS, PLACES = "tests/steering/test_hooks.py", "tests/steering/test_places.py"
FORMAT, VECTORS = "tests/vectors/test_format.py", "tests/vectors/test_emotion_vectors.py"
HUB, LOOPBACK = "tests/hub/test_hub.py", "tests/hub/test_loopback.py"

MUTANTS = (
    # steering
    Mutant(
        "scopes swapped",
        '"prompt": places < 0, "generated": places >= 0',
        '"prompt": places >= 0, "generated": places < 0',
        (PLACES,),
    ),
    Mutant("sink steered", "return positions > sink,", "return positions >= sink,", (HOOKS,)),
    Mutant("padding taken for text", "seen.argmax(1, keepdim=True)", "(0 * seen.argmax(1, keepdim=True))", (HOOKS,)),
    Mutant("cache not counted", "return int(cache.get_seq_length())", "return 0", (PLACES,)),
    Mutant(
        "hooks left on the model",
        "            handle.remove()\n        self._handles.clear()\n        self._ready.clear()",
        "            pass\n        self._handles.clear()\n        self._ready.clear()",
        (HOOKS,),
    ),
    Mutant(
        "other threads steered",
        "if self not in _active.get():\n            return None",
        "if False:\n            return None",
        (HOOKS,),
    ),
    Mutant("hook last in line", "register_forward_hook(hook, prepend=True)", "register_forward_hook(hook)", (HOOKS,)),
    Mutant(
        "beams mixed up",
        "tensor.repeat_interleave(copies, 0)",
        "tensor.repeat(copies, *[1] * (tensor.ndim - 1))",
        (HOOKS,),
    ),
    Mutant(
        "cast to the stream missing",
        "_delta(site.vectors, gain).to(hidden.dtype))",
        "_delta(site.vectors, gain))",
        (PLACES,),
    ),
    Mutant(
        "ablation adds",
        "site.level.unsqueeze(-2) - site.hold",
        "site.level.unsqueeze(-2) + site.hold",
        ("tests/steering/test_operations.py",),
    ),
    Mutant(
        "layers not shared",
        "sum(map(abs, dose.weights)) / len(layers)",
        "sum(map(abs, dose.weights))",
        ("tests/steering/test_plan.py",),
    ),
    Mutant(
        "decay to base e", "/ self.half_life).exp2()", "/ self.half_life).exp()", ("tests/steering/test_schedules.py",)
    ),
    Mutant("window one longer", "(places < self.stop)", "(places <= self.stop)", ("tests/steering/test_schedules.py",)),
    Mutant(
        "arousal turned round",
        "AROUSAL * affect.arousal",
        "-AROUSAL * affect.arousal",
        ("tests/steering/test_affect.py",),
    ),
    Mutant(
        "thermostat runs away",
        "now.deficit + self._levels - score",
        "now.deficit - self._levels + score",
        ("tests/steering/test_thermostat.py",),
    ),
    Mutant(
        "said words favoured again",
        "bonus.scatter(1, ids[:, self._length :], 0.0)",
        "bonus.scatter(1, ids[:, :0], 0.0)",
        ("tests/steering/test_recipes.py",),
    ),
    Mutant(
        "guidance from the wrong end",
        "torch.lerp(plain, toned, self.guidance)",
        "torch.lerp(toned, plain, self.guidance)",
        ("tests/steering/test_logits_processor.py",),
    ),
    # models
    Mutant(
        "sink pooled",
        "if i > 0 and ids[i] not in special",
        "if ids[i] not in special",
        ("tests/models/test_activations.py",),
    ),
    Mutant(
        "last pools the first",
        "(content * positions).argmax(1)",
        "content.argmax(1)",
        ("tests/models/test_activations.py",),
    ),
    Mutant(
        "padding in the norms",
        "* kept).sum(1) / kept.sum(1)",
        "* kept).sum(1) / kept.shape[1]",
        ("tests/models/test_activations.py",),
    ),
    Mutant(
        "fingerprint of the dtype",
        "flat[places.to(flat.device)].to(torch.bfloat16)",
        "flat[places.to(flat.device)].contiguous()",
        (VECTORS,),
    ),
    Mutant(
        "seed ignored", ".manual_seed(seed).get_state()", ".manual_seed(0).get_state()", ("tests/model/test_model.py",)
    ),
    Mutant("answers beyond the context", "min(MAX_NEW_TOKENS, room)", "MAX_NEW_TOKENS", ("tests/model/test_model.py",)),
    Mutant(
        "any list is the blocks",
        "isinstance(child, nn.ModuleList) and len(child) == depth",
        "isinstance(child, nn.ModuleList)",
        ("tests/layers/test_layers.py",),
    ),
    # reading
    Mutant(
        "zero elsewhere",
        'bias = -torch.einsum("ld,ldc->c"',
        'bias = torch.einsum("ld,ldc->c"',
        ("tests/reading/test_readout.py",),
    ),
    Mutant(
        "tokens taken for independent",
        ".inertia / len(counted)).sqrt()",
        ".inertia**0 / len(counted)).sqrt()",
        ("tests/reading/test_readout.py",),
    ),
    Mutant(
        "temperature multiplies",
        "(scores[0] / temperature)",
        "(scores[0] * temperature)",
        ("tests/reading/test_explain.py",),
    ),
    # vectors
    Mutant(
        "digest not checked",
        "if hashlib.sha256(data).hexdigest() != self.config.digests[name]:",
        "if False:",
        (FORMAT,),
    ),
    Mutant("header of any length", "if length > MAX_HEADER or length > size - 8:", "if length > size - 8:", (FORMAT,)),
    Mutant("gaps between tensors", "if entry.begin != at:", "if entry.begin < at:", (FORMAT,)),
    Mutant("keys twice in JSON", "if len(result) != len(pairs):", "if False:", (FORMAT,)),
    Mutant("seal not checked", "if seal is not None and seal not in", "if False and seal not in", (FORMAT,)),
    Mutant(
        "dose in other units",
        "* (dose.dose * weight * float(self.residual_norm[row[layer]]))",
        "* (dose.dose * weight)",
        (VECTORS,),
    ),
    Mutant(
        "mixture in other units",
        "shares = total.norm(dim=-1) / ",
        "shares = total.norm(dim=-1) + 0 * ",
        (VECTORS,),
    ),
    Mutant("card loses text", "{text[there.stop :] or chr(10)}", "{chr(10)}", ("tests/vectors/test_card.py",)),
    Mutant("card holds HTML", 'r"[&<>@]"', 'r"[&@]"', ("tests/vectors/test_card.py",)),
    # hub
    Mutant("push over others' work", "parent_commit=head.commit", "parent_commit=None", (HUB, LOOPBACK)),
    Mutant("push deletes others' files", "stale if prefix + VECTORS_FILE in names else []", "stale", (HUB, LOOPBACK)),
    Mutant(
        "ranges ignored by the server",
        "before = 0 if response.status_code == 206 else at",
        "before = 0",
        (LOOPBACK, HUB),
    ),
    # extraction and calibration
    Mutant("no contrast", "return means - means.mean(0)", "return means", ("tests/extraction/test_extraction.py",)),
    Mutant(
        "component of any sign",
        "component * torch.sign(differences.mean(0) @ component)",
        "component",
        ("tests/extraction/test_extraction.py",),
    ),
    Mutant(
        "neutral components kept",
        "return rows - rows @ basis.T @ basis",
        "return rows",
        ("tests/extraction/test_transfer.py",),
    ),
    Mutant(
        "power law upside down",
        "(cost / factor) ** (1 / self.exponent)",
        "(cost / factor) ** self.exponent",
        ("tests/calibration/test_calibration.py",),
    ),
    Mutant(
        "costs not drawn together",
        "mean + kept * (factors - mean)",
        "mean + (factors - mean)",
        ("tests/calibration/test_calibration.py",),
    ),
    # eval
    Mutant(
        "ratings from 0 to 1",
        "(2 * rating - low - high) / (high - low)",
        "(rating - low) / (high - low)",
        ("tests/eval/test_norms.py",),
    ),
    Mutant(
        "component of either sign",
        "sign = -1 if unsigned and value < 0 else 1",
        "sign = 1",
        ("tests/eval/test_alignment_statistics.py",),
    ),
    Mutant("chance not taken off", "- by_chance) / (1 - by_chance)", "- by_chance)", ("tests/eval/test_judges.py",)),
    Mutant(
        "first token not scored",
        "targets[i, len(prompt) : len(row)] = ids[i, len(prompt) : len(row)]",
        "targets[i, len(prompt) + 1 : len(row)] = ids[i, len(prompt) + 1 : len(row)]",
        ("tests/eval/test_steering.py",),
    ),
    # concepts, importing, export
    Mutant(
        "held-out texts learned from",
        "for text in both[name] if text not in learned",
        "for text in both[name]",
        ("tests/concepts/test_concepts.py",),
    ),
    Mutant("coefficient ignored", "factor * torch.stack(", "torch.stack(", ("tests/importing/test_importing.py",)),
    Mutant(
        "any size unpacked",
        "sum(entry.file_size for entry in entries)) > MAX_BYTES",
        "sum(entry.file_size for entry in entries)) < 0",
        ("tests/importing/test_importing.py",),
    ),
    Mutant(
        "bias gain ignored",
        "deltas[layer].to(bias.device) / gain",
        "deltas[layer].to(bias.device)",
        ("tests/export/test_baked.py",),
    ),
    Mutant(
        "control vector a layer late",
        'f"direction.{layer}", delta',
        'f"direction.{layer + 1}", delta',
        ("tests/export/test_gguf.py",),
    ),
    # cli and demo
    Mutant("terminal obeys a file", 'c if c.isprintable() or c in "\\n\\t" else "�"', "c", ("tests/cli/test_cli.py",)),
    Mutant(
        "page obeys a text",
        'html.escape(UNPRINTABLE.sub("\\N{REPLACEMENT CHARACTER}", text), quote=True)',
        'UNPRINTABLE.sub("\\N{REPLACEMENT CHARACTER}", text)',
        ("tests/demo/test_figures.py",),
    ),
)


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
        tests = sorted({test for mutant in mutants for test in _tests(mutant, options.layout)})
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


def _tests(mutant: Mutant, layout: str) -> tuple[str, ...]:
    """The tests of a mutant by the names that they have in a layout."""
    if layout == "new":
        return mutant.tests
    old = []
    for test in mutant.tests:
        path, *name = test.split("::")
        old.append("::".join([OLD_NAMES.get(path, f"tests/{Path(path).name}"), *name]))
    return tuple(old)


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
        for test in _tests(mutant, layout):
            path, *names = test.split("::")
            text = (root / path).read_text() if (root / path).is_file() else ""
            if not text or any(f"def {name.partition('[')[0]}(" not in text for name in names):
                problems.append(f"{mutant.name!r}: there is no test {test}")
    return problems


def _tried(copy: Path, mutant: Mutant, place: Path | str, layout: str) -> dict[str, object]:
    path = copy / place
    original = path.read_text()
    path.write_text(original.replace(mutant.before, mutant.after))
    try:
        status, seconds, output = _run(copy, _tests(mutant, layout))
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
