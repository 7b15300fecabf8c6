"""What a replay raises for itself."""

from operations.errors import Unreachable


class Moved(Unreachable):
    """The node is not in charge of a key any more, or gone: look who is, and go on there."""
