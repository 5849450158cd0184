"""Markets in the fleet from seeds: every book is the same everywhere, nothing that was acknowledged is lost, no hold
leaks; and each broken rule of the exchange is found."""

import pytest

from jilnode.simulation import simulate
from jilnode.simulation.exchange.mutants import EXCHANGE_MUTANTS
from services.dex.module import MODULE as DEX
from services.wallet.module import MODULE as WALLET

MODULES = (WALLET, DEX)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(500, 508))
def test_a_small_fleet_with_markets_holds(seed):
    report = simulate(seed=seed, steps=8_000, nodes=3 + seed % 3, modules=MODULES)
    assert report.finding is None, report.text()
    assert report.trades > 20
    assert report.books > 100


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_twenty_nodes_with_markets_hold():
    report = simulate(seed=7, steps=10_000, nodes=20, modules=MODULES)
    assert report.finding is None, report.text()
    assert report.crashes > 10
    assert report.trades > 50


@pytest.mark.filterwarnings("ignore")
def test_the_same_seed_is_the_same_run():
    one, two = (simulate(seed=5, steps=3_000, nodes=4, modules=MODULES) for _ in range(2))
    assert (one.trace, one.trades, one.entries) == (two.trace, two.trades, two.entries)


@pytest.mark.filterwarnings("ignore")
def test_a_liar_on_the_bus_changes_no_book():
    for seed in (600, 601):
        report = simulate(seed=seed, steps=6_000, nodes=4, modules=MODULES, hostile=True)
        assert report.finding is None, report.text()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EXCHANGE_MUTANTS)
def test_a_broken_rule_of_the_exchange_is_found(name):
    """Within a minute: these seeds take less."""
    for seed in range(400, 410):
        with EXCHANGE_MUTANTS[name]():
            report = simulate(seed=seed, steps=6_000, nodes=3, modules=MODULES)
        if report.finding is not None:
            break
    else:
        pytest.fail(f"ten seeds did not notice that the rule of {name} is broken")


@pytest.mark.filterwarnings("ignore")
def test_the_seeds_of_the_broken_rules_find_nothing_in_whole_ones():
    for seed in (400, 401):
        report = simulate(seed=seed, steps=6_000, nodes=3, modules=MODULES)
        assert report.finding is None, report.text()
