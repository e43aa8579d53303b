"""The demo of emosteer: try tones, see feelings. A house of its own, which uses the library as anybody would."""

from emosteer_demo.page import build, launch
from emosteer_demo.studio import Pair

__all__ = ["Pair", "build", "launch"]
