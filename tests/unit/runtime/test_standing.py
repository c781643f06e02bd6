"""Since when a dependency is as it is."""

from milepost.runtime.standing import Dependency, Standings


async def test_since_is_when_it_changed_and_what_goes_on_is_told_only_while_it_is_away() -> None:
    well = True

    async def check() -> tuple[bool, str]:
        return well, "answers" if well else "is away"

    standings = Standings({"redis": Dependency(check, "events wait in Kafka")})
    first = (await standings.look())["redis"]
    again = (await standings.look())["redis"]
    assert again == first
    assert "meanwhile" not in first.shown()
    well = False
    away = (await standings.look())["redis"]
    still = (await standings.look())["redis"]
    assert away.since > first.since
    assert still == away
    assert away.shown() == {
        "ok": False, "detail": "is away", "since": away.since, "meanwhile": "events wait in Kafka",
    }  # fmt: skip
