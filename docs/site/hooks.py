"""Pages link to files of the repository as GitHub wants it, `../vectors/…`; the site carries those files along."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
OUTSIDE = re.compile(r"\]\(\.\./((?:demo|emosteer|vectors)/[^)#\s]+)")


def on_files(files, config):
    """Add what pages link to outside of docs/, at its own path."""
    linked = {path for page in files.documentation_pages() for path in OUTSIDE.findall(page.content_string)}
    for path in sorted(linked):
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown, **_):
    """Point those links to where the files are in the site."""
    return OUTSIDE.sub(r"](\1", markdown)
