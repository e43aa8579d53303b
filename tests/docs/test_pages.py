"""Links, paths, figures and the size of the README."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, blocks, commands, inline_commands, links, prose, sections

README_LINES = 150
FIGURES = re.compile(r"^\|.*\d?\.\d\d.*\|$", re.MULTILINE)


def test_the_readme_is_short():
    assert len(PAGES["README.md"].read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = PAGES[page]
    for link in links(path.read_text()):
        if not link.startswith("https://"):
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.is_relative_to(ROOT), f"{page}: {link}"
            assert target.exists(), f"{page}: {link}"
            if anchor:
                assert anchor in anchors(target.read_text()), f"{page}: {link}"


@pytest.mark.parametrize("page", PAGES)
def test_tables_of_figures_name_their_command(page):
    for section in sections(PAGES[page].read_text()):
        if FIGURES.search(section):
            shell = [words for block in blocks(section) if block.language == "bash" for words in commands(block.code)]
            assert shell or list(inline_commands(section)), f"{page}: {section.splitlines()[0]}: by which command?"


@pytest.mark.parametrize("page", PAGES)
def test_code_is_fenced(page):
    """An indented block would be code that no test sees."""
    assert not re.search(r"\n\n {4,}\S", prose(PAGES[page].read_text())), page


def test_paths_in_the_architecture_exist():
    """`room/file.py` and `room/file.py: name`, where the name is defined in the file."""
    text = PAGES["docs/architecture.md"].read_text()
    named = re.findall(r"`((?:emosteer|tests|vectors|demo|docs)/[\w./-]*)`(?:, `(\w+)`)?", text)
    assert len(named) >= 20
    for path, name in named:
        assert (ROOT / path).exists(), path
        if name:
            source = (ROOT / path).read_text()
            assert re.search(rf"^\s*(def|class) {name}\b|^{name}\b.*=", source, re.MULTILINE), f"{path}: {name}"
