"""The figures of the demo: pure functions from data to HTML and SVG, one figure a file.

Their style is `style.css` beside this folder, which the page passes to gradio.
"""
