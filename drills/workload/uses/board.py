"""Leaderboards: points that are added once per operation, though some operations are delivered twice.

add    subject board/player, value points, other the number of the operation
again  the same operation, delivered a second time
final  subject board/player, value points at the end
"""

from typing import Any

from applications.board import Board
from applications.careless.board import BoardWithTotal, CarelessBoard
from drills.workload.uses.stage import Actor, Use

NAMES = 3
TWICE_EVERY = 8
PLAYERS = 100


class BoardUse(Use):
    name = "leaderboard"
    turns_per_second = 12

    def board(self, client: Any, tag: str) -> Any:
        return Board(client, tag, self.stage.confirm, self.stage.prefix)

    def wake(self, actor: Actor) -> Any:
        return [self.board(actor.client, tag) for tag in self.stage.tags[:NAMES]]

    def turn(self, actor: Actor) -> None:
        actor.turns += 1
        place = actor.turns % NAMES
        board, player = actor.state[place], f"player-{actor.number}"
        subject, operation = f"{self.stage.tags[place]}/{player}", f"{actor.number}-{actor.turns}"
        done = actor.surely("add", subject, lambda: board.add(player, 1, operation), 1, actor.turns)
        if done and actor.turns % TWICE_EVERY == 0:
            actor.surely("again", subject, lambda: board.add(player, 1, operation), 1, actor.turns)

    def audit(self, actor: Actor) -> None:
        for tag in self.stage.tags[:NAMES]:
            for player, points in Board(actor.client, tag, prefix=self.stage.prefix).top(PLAYERS):
                actor.event("final", f"{tag}/{player}", self.stage.now(), points)


class CarelessBoardUse(BoardUse):
    name = "leaderboard-careless"

    def board(self, client: Any, tag: str) -> Any:
        return CarelessBoard(client, tag, self.stage.prefix)


class BoardWithTotalUse(BoardUse):
    name = "leaderboard-total"

    def board(self, client: Any, tag: str) -> Any:
        return BoardWithTotal(client, tag, self.stage.prefix)


BOARDS: tuple[type[Use], ...] = (BoardUse, CarelessBoardUse, BoardWithTotalUse)
