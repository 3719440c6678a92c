"""What can happen to a command: it comes twice, its device reconnects, is killed, or is away."""

from __future__ import annotations

import asyncio
from typing import Final

from infra.scenario.commands import commands_of
from simulator.load.commander import Commander, orders_of
from simulator.load.director import Director, Setup
from simulator.scenario import Commands, Faults, Fleet, Offline, Phase, Scenario
from tests.chaos.faults import on_shared_site
from tests.chaos.site import Site

SECONDS: Final = 24.0
EACH: Final = 6
DEVICES: Final = 6


@on_shared_site
def commands_sent_twice_to_devices_that_reconnect(site: Site) -> None:
    """Each command comes again and again, while its devices lose their network and their power in
    the middle of it. It has one effect, or none once it has expired."""
    fleet = Fleet(
        "valves", DEVICES, [Phase(SECONDS, rate=1.0)], type="pump",
        commands=Commands(EACH, again=0.9, expires_s=(5.0, 10.0), work_s=1.5),
        faults=Faults(power_cuts=4, down_s=0.5, storms=2, offline=Offline(0.5, 6.0)),
    )  # fmt: skip
    names = [one.device_id for one in site.fleet(DEVICES)]
    ledger = site.new_ledger()
    setup = Setup(
        site.settings.devices_dir.absolute(), site.folder.absolute() / f"spools-{names[0]}",
        ledger.absolute(), {"valves": names},
    )  # fmt: skip
    orders = orders_of(fleet, names, site.seed)
    commander = Commander(site.target.client("iot-data"), orders, ledger)
    director = Director(Scenario("valves", [fleet]), setup, seed=site.seed)
    with commander.sending():
        asyncio.run(director.run())
    found = commands_of(ledger)
    assert found is not None, "no command was sent"
    assert not found["differences"], found["differences"]
    assert found["succeeded"] > len(orders) / 4, found
    assert found["repeated"] > len(orders), found
    assert director.power_cuts == 4
