"""The demo: a page in which to try tones and see emotions. It uses only the public parts of the library."""

from emosteer.demo import quick as quick  # isort: skip  # before anything imports gradio
from emosteer.demo.page import Demo, build
from emosteer.demo.studio import Pair

__all__ = ["Demo", "Pair", "build"]
