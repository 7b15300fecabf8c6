"""Sessions: started, used by several instances at once, logged out, and looked for afterwards.

start   subject session
logout  subject session
seen    subject session, value 1 there, 0 not; at the end once for every session that nobody logged out
after   the same for a session whose logout was acknowledged before
"""

from typing import Any

from applications.careless.session import CarelessSessions
from applications.session import Sessions
from drills.workload.uses.stage import Actor, Stage, Use

IDLE_SECONDS = 300
LIVE = 12
WORK_SECONDS = 0.03


class SessionUse(Use):
    name = "session"
    turns_per_second = 15

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.live: list[str] = []
        self.out: list[str] = []

    def sessions(self, client: Any) -> Any:
        return Sessions(client, IDLE_SECONDS, self.stage.confirm, self.stage.prefix)

    def wake(self, actor: Actor) -> Any:
        return self.sessions(actor.client)

    def turn(self, actor: Actor) -> None:
        actor.turns += 1
        sessions = actor.state
        choice = actor.random.random()
        if choice < 0.15 or not self.live:
            name = f"{actor.number}-{actor.turns}"
            if actor.surely("start", name, lambda: sessions.start(name, {"user": actor.name})):
                self.live.append(name)
        elif choice < 0.25 or len(self.live) > LIVE:
            name = self.live.pop(actor.random.randrange(len(self.live)))
            if actor.surely("logout", name, lambda: sessions.logout(name)):
                self.out.append(name)
        elif choice < 0.4 and self.out:
            self.look(actor, "after", actor.random.choice(self.out[-LIVE:]))
        else:
            self.look(actor, "seen", actor.random.choice(self.live))

    def look(self, actor: Actor, verb: str, name: str) -> None:
        start = self.stage.now()
        there = actor.state.use(name, {"seen": str(actor.turns)}) is not None
        actor.event(verb, name, start, int(there))

    def audit(self, actor: Actor) -> None:
        actor.state = self.sessions(actor.client)
        for name in self.live:
            self.look(actor, "seen", name)
        for name in self.out:
            self.look(actor, "after", name)


class CarelessSessionUse(SessionUse):
    name = "session-careless"

    def sessions(self, client: Any) -> Any:
        return CarelessSessions(client, IDLE_SECONDS, WORK_SECONDS, self.stage.prefix)


SESSIONS: tuple[type[Use], ...] = (SessionUse, CarelessSessionUse)
