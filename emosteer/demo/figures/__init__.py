"""The demo's figures: pure functions from data to HTML and SVG text, one figure a file.

They are drawn by the rules of `style.css`, beside this folder, which the page hands to gradio.
"""
