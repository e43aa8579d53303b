"""What steering becomes outside of emosteer."""

from emosteer.export.baked import bake

__all__ = ["bake"]
