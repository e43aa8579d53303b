"""The page: its tabs put together, and how it is served."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from emosteer.demo.asking import LARGEST_FILE
from emosteer.demo.bring import bring
from emosteer.demo.endpoints import endpoints
from emosteer.demo.explore import explore
from emosteer.demo.studio import Pair, Studio
from emosteer.demo.talk import talk
from emosteer.demo.told import SWIFT

TITLE = "emosteer: a language model that speaks with feeling"
PATIENCE = 15.0  # seconds for the first page to come
WAITING = 24  # events in line; who comes later is told so
FILES_KEPT = 3600  # seconds that a file which was brought or made is kept

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

        The first model is loaded when the first page is there, or a little later without one: reading weights takes
        all there is of a small machine, and the page would wait for it.

        Args:
            **options: For gradio's `launch`: `server_port`, `mcp_server`, …

        Returns:
            Where the page is.
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
    """The page, yet to be served.

    Args:
        first: The model and vectors that every visitor begins with; the embedded ones by default.

    Raises:
        FormatError: The vectors are damaged.
        HubError: The Hub does not give them.
    """
    studio = Studio(first)
    studio.places()  # vectors that cannot be read are an error before there is half a page
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
        page.load(studio.told, pair, waiting, concurrency_limit=None, **{**SWIFT, "queue": True})
    page.queue(max_size=WAITING)
    return Demo(page, studio)


def theme() -> gr.Theme:
    """Fonts of the visitor's own machine, and colours that can be read."""
    found: gr.Theme = gr.themes.Default(
        primary_hue="amber", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    return found.set(
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
