"""What a Space runs, and `make demo`."""

from emosteer.demo import build

if __name__ == "__main__":
    demo = build()
    demo.launch()
    demo.page.block_thread()
