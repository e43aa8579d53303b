"""Calibration: the dose of every emotion at which strength 1.0 costs a stated budget, or more adds no tone."""

from emosteer.calibration.calibrator import calibrate
from emosteer.calibration.results import CALIBRATION_FILE, Calibration, EmotionResult, Point, Window

__all__ = ["CALIBRATION_FILE", "Calibration", "EmotionResult", "Point", "Window", "calibrate"]
