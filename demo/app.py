"""What a Space runs, and `make demo`."""

from emosteer_demo import build

if __name__ == "__main__":
    demo = build()
    demo.launch()
    demo.page.block_thread()
