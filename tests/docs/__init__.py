"""The README and the pages of docs/: their examples run, their links and paths lead somewhere, the site builds."""
