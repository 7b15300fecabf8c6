"""The client-side cache of redis-py as it comes: right until the primary hangs or is cut off, and then old without an end."""

import math

from applications.near import Near


class EndlessNear(Near):
    """Nothing is ever too old."""

    def __init__(self) -> None:
        super().__init__(math.inf)
