"""`emosteer demo`, as somebody types it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from emosteer import errors


def test_a_port_that_is_taken_is_one_line(command_line):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, out, err = command_line("demo", "--port", port)
    assert (status, out) == (1, "")
    assert err.startswith(f"Error: Port {port} cannot be used")
    assert "--port" in err


def test_a_model_without_vectors_is_refused(command_line):
    status, _, err = command_line("demo", "--model", "some/model")
    assert status == 1
    assert err.startswith("Error: Which vectors for some/model?")


def test_vectors_that_are_not_there_are_refused(command_line, tmp_path):
    status, _, err = command_line("demo", "--port", 0, "--vectors", tmp_path / "none")
    assert status == 1
    assert err.startswith("Error: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(("option", "extra", "package"), [((), "demo", "gradio"), (("--mcp",), "mcp", "mcp")])
def test_a_missing_extra_is_named(command_line, monkeypatch, option, extra, package):
    there = errors.importlib.util.find_spec
    monkeypatch.setattr(errors.importlib.util, "find_spec", lambda name: None if name == package else there(name))
    status, _, err = command_line("demo", *option)
    assert status == 1
    assert f"pip install 'emosteer[{extra}]'" in " ".join(err.split())


def test_it_serves_on_loopback_until_interrupted(tmp_path):
    """In a process of its own: the page is there before the model is, and Ctrl-C ends it without a traceback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "emosteer", "demo", "--port", str(port)]
    server = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background have it ignored, and would hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        said = server.stderr.readline()  # the page is there when this is
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read().decode()
    finally:
        server.send_signal(signal.SIGINT)
        _, rest = server.communicate(timeout=60)
    assert said.startswith(f"The demo is at http://127.0.0.1:{port}/")
    assert "emosteer" in page
    assert "Traceback" not in rest
    assert server.returncode == 0


def test_the_command_explains_itself(command_line):
    status, out, _ = command_line("demo", "--help")
    assert status == 0
    assert {"--port", "--model", "--vectors", "--mcp"} <= set(out.split())
