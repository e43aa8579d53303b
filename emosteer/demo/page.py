"""The page: its tabs, and how it is served."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from emosteer.demo.asking import LARGEST_FILE
from emosteer.demo.bring import bring
from emosteer.demo.endpoints import endpoints
from emosteer.demo.events import SWIFT
from emosteer.demo.explore import explore
from emosteer.demo.studio import Pair, Studio
from emosteer.demo.talk import talk

TITLE = "emosteer: a language model that speaks with feeling"
PATIENCE = 15.0  # seconds after which the first model is loaded without a visitor
WAITING = 24  # events in the queue; later ones are refused with a message
FILES_KEPT = 3600  # seconds that uploads and downloads are kept

__all__ = ["Demo", "build"]


@dataclass(frozen=True)
class Demo:
    """The page and the models behind it.

    Args:
        page: Gradio's blocks.
        studio: The models.
    """

    page: gr.Blocks
    studio: Studio

    def launch(self, **options: Any) -> str:
        """Serve the page.

        The first model is loaded when the first visitor comes, or a little later without one. Loading it at once would
        take all of a small machine and delay the page.

        Args:
            **options: For gradio's `launch`: `server_port`, `mcp_server`, …

        Returns:
            The address of the page.
        """
        _, address, _ = self.page.launch(
            **{
                "theme": theme(),
                "css_paths": [Path(__file__).parent / "style.css"],
                "max_file_size": LARGEST_FILE,
                "ssr_mode": False,
                "footer_links": ["api", "settings"],
                "prevent_thread_lock": True,
                **options,
            }
        )
        later = threading.Timer(PATIENCE, self.studio.open)
        later.daemon = True
        later.start()
        return address


def build(first: Pair | None = None) -> Demo:
    """Build the page, which is served by `Demo.launch`.

    Args:
        first: The model and vectors that every visitor begins with. By default the embedded model.

    Raises:
        FormatError: The vectors are damaged.
        HubError: The Hub does not give them.
    """
    studio = Studio(first)
    studio.places()  # vectors that cannot be read are an error now
    page: gr.Blocks
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(FILES_KEPT, FILES_KEPT)
    ) as page:
        pair = gr.State(studio.first)
        gr.Markdown("# emosteer\nA language model that speaks with feeling, under control.")
        waiting = gr.HTML("", elem_id="waiting")
        with gr.Tabs(overflow_behavior="wrap"):
            with gr.Tab("Talk"):
                talk(studio, pair)
            with gr.Tab("Explore"):
                explore(studio, pair)
            with gr.Tab("Bring your own"):
                bring(studio, pair)
        endpoints(studio)
        page.load(studio.status, pair, waiting, concurrency_limit=None, **{**SWIFT, "queue": True})
    page.queue(max_size=WAITING)
    return Demo(page, studio)


def theme() -> gr.Theme:
    """Return a theme with system fonts and colours of sufficient contrast."""
    base: gr.Theme = gr.themes.Default(
        primary_hue="amber", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    return base.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_600",
        color_accent="*primary_700",
    )
