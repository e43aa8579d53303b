"""The pad: a point of valence and arousal that is dragged."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent
NEUTRAL = {"valence": 0.0, "arousal": 0.0}

# A constant without placeholders: gradio then keeps the DOM when the value changes, with what pad.js has added
# (listeners, focus, a drag under way). pad.js adds the names, as text nodes.
TEMPLATE = """
<div class="em-pad">
  <div class="em-pad-plane" role="slider" tabindex="0" aria-roledescription="pad with two axes"
       aria-label="Tone" aria-valuemin="0" aria-valuemax="100" aria-valuenow="0" aria-valuetext="neutral">
    <div class="em-pad-disc"></div>
    <svg viewBox="-1.2 -1.2 2.4 2.4" aria-hidden="true" focusable="false">
      <path class="em-pad-axis" d="M-1 0H1M0-1V1"/>
      <circle class="em-pad-half" r="0.5"/>
      <circle class="em-pad-rim" r="1"/>
      <line class="em-pad-stem" x1="0" y1="0" x2="0" y2="0"/>
    </svg>
    <div class="em-pad-names" aria-hidden="true"></div>
    <div class="em-pad-fixed" aria-hidden="true">
      <span class="em-pad-end em-pad-up">stirred up</span>
      <span class="em-pad-end em-pad-down">still</span>
      <span class="em-pad-end em-pad-left">unpleasant</span>
      <span class="em-pad-end em-pad-right">pleasant</span>
      <span class="em-pad-dose em-pad-none">neutral</span>
      <span class="em-pad-dose em-pad-mid">half dose</span>
      <span class="em-pad-dose em-pad-full">full dose</span>
    </div>
    <div class="em-pad-point" aria-hidden="true"></div>
    <div class="em-pad-near" aria-hidden="true"></div>
  </div>
  <p class="em-pad-words" aria-hidden="true">Neutral: the model as it is</p>
  <p class="em-pad-help em-hidden">Left and right arrow keys change valence, up and down arousal, by 0.05; with Shift
    by 0.2. Home or Escape goes back to neutral. The distance from the centre is the strength.</p>
</div>
"""


def clip(valence: float, arousal: float) -> dict[str, float]:
    """The nearest point of the unit disc, rounded to 0.01.

    Beyond distance 1 an affect is not stronger, so the disc holds every tone that the square has.
    """
    distance = math.hypot(valence, arousal)
    if distance <= 1:
        return {"valence": round(valence, 2) + 0.0, "arousal": round(arousal, 2) + 0.0}
    # towards the centre, so that rounding does not leave the disc; + 0.0 turns -0.0 into 0.0
    return {
        "valence": math.trunc(100 * valence / distance) / 100 + 0.0,
        "arousal": math.trunc(100 * arousal / distance) / 100 + 0.0,
    }


def _point(value: Any) -> dict[str, float]:
    try:
        valence, arousal = (_finite(value[name]) for name in ("valence", "arousal"))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise gr.Error(
            "The pad takes a point such as {valence: 0.4, arousal: -0.2}, two numbers from -1 to 1.",
            print_exception=False,
        ) from None
    return clip(valence, arousal)


def _finite(number: Any) -> float:
    if isinstance(number, (bool, str, bytes)) or not math.isfinite(number):
        raise ValueError(number)
    return max(-1e6, min(1e6, float(number)))  # so that its square is finite too


class Pad(gr.HTML):
    """A disc with a point that sets a tone: valence to the right, arousal up, strength as the distance from the centre.

    The value is `{"valence": float, "arousal": float}` in the unit disc. The event `input` is sent while the point
    moves, `release` when it is let go. An event handler returns `Pad(emotions=…)` or `gr.update(value=…)`.

    Args:
        value: The initial point.
        emotions: The names on the pad, each as `{"name", "valence", "arousal"}`, the most important first: names that
            find no room are left out. Those with None for a coordinate are not shown.
        label: Name of the pad for screen readers.
        options: Further arguments of `gr.HTML`.
    """

    def __init__(
        self,
        value: Mapping[str, float] | None = None,
        *,
        emotions: Sequence[Mapping[str, Any]] = (),
        label: str = "Tone",
        **options: Any,
    ) -> None:
        # Also an attribute, or gr.HTML would take the name, which pad.js has in quotes, for an event.
        self.emotions = list(emotions)
        super().__init__(
            value=value or NEUTRAL,
            label=label,
            emotions=self.emotions,
            html_template=TEMPLATE,
            css_template=(HERE / "pad.css").read_text(encoding="utf-8"),
            js_on_load=(HERE / "pad.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            **options,
        )

    def preprocess(self, payload: Any) -> Any:
        """Check a value from a browser or a program, and return it as a point of the disc.

        Raises:
            gr.Error: The value is not a point.
        """
        return dict(NEUTRAL) if payload in (None, "") else _point(payload)

    def postprocess(self, value: Any) -> Any:
        """Check a value from an event handler, and return it as a point of the disc. None is the centre."""
        return dict(NEUTRAL) if value is None else _point(value)

    def api_info(self) -> dict[str, Any]:
        """Return the JSON schema of the value."""
        number = {"type": "number", "minimum": -1, "maximum": 1}
        return {
            "type": "object",
            "properties": {"valence": number, "arousal": number},
            "required": ["valence", "arousal"],
        }

    def example_payload(self) -> dict[str, float]:
        """Return an example for the page of the API."""
        return {"valence": 0.6, "arousal": 0.4}

    def example_value(self) -> dict[str, float]:
        """Return an example for the page of the API."""
        return self.example_payload()
