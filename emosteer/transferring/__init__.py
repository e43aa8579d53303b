"""Vectors of one model → vectors of another."""

from emosteer.transferring.moving import transfer

__all__ = ["transfer"]
