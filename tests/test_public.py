"""Public names and commands are a contract: what stands here stays, and grows only on purpose."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import typer

import emosteer
from emosteer.cli import app

PUBLIC = json.loads((Path(__file__).parent / "public.json").read_text())


@pytest.mark.parametrize("name", PUBLIC["names"])
def test_a_public_name_is_there(name):
    assert name in emosteer.__all__
    assert name in dir(emosteer)
    assert not inspect.ismodule(getattr(emosteer, name))


@pytest.mark.parametrize("name", PUBLIC["members"])
def test_public_classes_keep_their_members(name):
    assert set(PUBLIC["members"][name]) <= set(dir(getattr(emosteer, name)))


@pytest.mark.parametrize("name", PUBLIC["rooms"])
def test_public_rooms_keep_their_names(name):
    assert set(PUBLIC["rooms"][name]) <= set(dir(getattr(emosteer, name)))


def commands(command: object, path: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Command → its arguments and options, in alphabetical order."""
    if hasattr(command, "commands"):
        parts = [commands(inner, (*path, name)) for name, inner in command.commands.items()]
        return {name: options for part in parts for name, options in part.items()}
    options = [
        option
        for parameter in command.params
        for option in (
            parameter.opts + parameter.secondary_opts
            if parameter.param_type_name == "option"
            else [parameter.name.upper()]
        )
    ]
    return {" ".join(path): sorted(set(options) - {"--help"})}


def test_commands_and_their_options():
    assert commands(typer.main.get_command(app)) == PUBLIC["commands"]
