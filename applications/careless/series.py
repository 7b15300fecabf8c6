"""XADD with a place that the server chooses: what is sent twice is there twice, and nothing ever goes."""

from applications.call import Client
from applications.series import Point, fields_of


class CarelessSeries:
    """The calls of `applications.series.Series`; moments are fields here."""

    def __init__(self, client: Client, name: str, prefix: str = "series") -> None:
        self._client = client
        self._key = f"{prefix}:{{{name}}}"

    def add(self, at_ms: int, value: float) -> bool:
        self._client.xadd(self._key, {"at": at_ms, "v": value})
        return True

    def between(self, first_ms: int, last_ms: int) -> list[Point]:
        told = [fields_of(fields) for _, fields in self._client.execute_command("XRANGE", self._key, "-", "+")]
        points = [Point(int(fields["at"]), float(fields["v"])) for fields in told]
        return [point for point in points if first_ms <= point.at_ms <= last_ms]
