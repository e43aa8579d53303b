"""Serving: a tone in every request, and a server in which each has its own."""

from emosteer.serving.request import Rules, ToneRequest, parse, request

__all__ = ["Rules", "ToneRequest", "parse", "request"]
