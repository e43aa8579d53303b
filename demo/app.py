"""What a Space runs, and `make demo`."""

from emosteer_demo import build, launch

demo = build()

if __name__ == "__main__":
    launch(demo)
