"""Tones, the steering plans made from them, and the hooks that apply a plan to a running model."""

from emosteer.steering.affect import Affect
from emosteer.steering.hooks import Steering, steer, unsteered
from emosteer.steering.thermostat import Thermostat
from emosteer.steering.tones import Keyframes, Tone

__all__ = ["Affect", "Keyframes", "Steering", "Thermostat", "Tone", "steer", "unsteered"]
