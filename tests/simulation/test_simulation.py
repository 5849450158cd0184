"""The fleet from seeds: everything holds; the same seed is the same run; and each broken rule is found."""

import pytest

from jilnode.simulation import simulate
from jilnode.simulation.mutants import HOSTILE, MUTANTS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(100, 112))
def test_a_small_fleet_holds(seed):
    report = simulate(seed=seed, steps=8_000, nodes=3)
    assert report.finding is None, report.text()
    assert report.acknowledged > 50


@pytest.mark.filterwarnings("ignore")
def test_twenty_nodes_hold():
    report = simulate(seed=7, steps=20_000, nodes=20)
    assert report.finding is None, report.text()
    assert report.crashes > 10
    assert report.acknowledged > 200


@pytest.mark.filterwarnings("ignore")
def test_the_same_seed_is_the_same_run():
    one, two, other = (simulate(seed=seed, steps=3_000, nodes=4) for seed in (5, 5, 6))
    assert one.trace == two.trace
    assert one.trace != other.trace


@pytest.mark.filterwarnings("ignore")
def test_a_liar_on_the_bus_changes_nothing():
    for seed in range(200, 204):
        report = simulate(seed=seed, steps=6_000, nodes=4, hostile=True)
        assert report.finding is None, report.text()


@pytest.mark.patches
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_found(name):
    for seed in range(300, 330):
        with MUTANTS[name]():
            report = simulate(seed=seed, steps=6_000, nodes=3, hostile=name in HOSTILE)
        if report.finding is not None:
            break
    else:
        pytest.fail(f"thirty seeds did not notice that the rule of {name} is broken")
    assert "not_judged" not in report.text(), "what broke is the mutant"
    sound = simulate(seed=report.seed, steps=6_000, nodes=3, hostile=name in HOSTILE)
    assert sound.finding is None, sound.text()
