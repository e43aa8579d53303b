"""The demo, as a Hugging Face Space runs it."""

from emosteer.demo import build

if __name__ == "__main__":
    demo = build()
    demo.launch()
    demo.page.block_thread()
