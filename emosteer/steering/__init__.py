"""Tones → what is added to the residual stream, and the hooks that add it."""

from emosteer.steering.hooks import Steering, steer

__all__ = ["Steering", "steer"]
