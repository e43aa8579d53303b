"""The demo of emosteer: try tones, see feelings. A house of its own, which uses the library as anybody would."""

from emosteer.demo import quick as quick  # isort: skip  # before anything imports gradio
from emosteer.demo.page import Demo, build
from emosteer.demo.studio import Pair

__all__ = ["Demo", "Pair", "build"]
