"""ZINCRBY, and again when nobody knows how it ended, or when the queue delivers twice: points are counted twice."""

from applications.call import Client


class CarelessBoard:
    """The calls of `applications.board.Board`."""

    def __init__(self, client: Client, name: str, prefix: str = "board") -> None:
        self._client = client
        self._key = f"{prefix}:{{{name}}}"

    def add(self, player: str, points: int, _operation: str) -> bool:
        self._client.zincrby(self._key, points, player)
        return True


class BoardWithTotal(CarelessBoard):
    """Every board and one over all of them in one transaction. They have no slot in common, so a cluster cannot take it."""

    def __init__(self, client: Client, name: str, prefix: str = "board") -> None:
        super().__init__(client, name, prefix)
        self.keys = [self._key, f"{prefix}:total"]

    def add(self, player: str, points: int, _operation: str) -> bool:
        pipeline = self._client.pipeline(transaction=True)
        for key in self.keys:
            pipeline.zincrby(key, points, player)
        pipeline.execute()
        return True
