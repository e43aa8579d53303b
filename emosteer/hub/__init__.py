"""The Hub: finding, getting and publishing vectors."""

from emosteer.hub.listing import Listing, search
from emosteer.hub.publishing import Pushed, push
from emosteer.hub.repository import Repository, is_remote

__all__ = ["Listing", "Pushed", "Repository", "is_remote", "push", "search"]
