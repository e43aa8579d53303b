"""Calibration: what strength 1.0 means, for every emotion.

The quick one, which `extract` does, finds the dose that moves the model by a stated divergence. The long one refines it
by generated answers: the dose that costs a budget, or less where more adds no tone.
"""

from emosteer.calibration.calibrator import calibrate
from emosteer.calibration.extracting import extract, extract_languages, with_quick_doses
from emosteer.calibration.quick import DIVERGENCE, quick_doses
from emosteer.calibration.results import CALIBRATION_FILE, Calibration, EmotionResult, Point, Window

__all__ = [
    "CALIBRATION_FILE",
    "DIVERGENCE",
    "Calibration",
    "EmotionResult",
    "Point",
    "Window",
    "calibrate",
    "extract",
    "extract_languages",
    "quick_doses",
    "with_quick_doses",
]
