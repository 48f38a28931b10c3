"""Learning rates set by the step, also where a graph on a GPU reads them from a tensor."""

from common.devices import _keep_learning_rates
from common.schedules import one_cycle, set_learning_rate

import pytest
import torch
from torch import nn


def test_a_rate_that_is_a_tensor_stays_the_tensor_that_graphs_read():
    rate = torch.tensor(1.0)
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), rate)
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] is rate and rate.item() == 0.25


def test_a_rate_that_is_a_number_is_replaced():
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), 1.0)
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_a_run_begun_elsewhere_goes_on_with_this_optimisers_tensor():
    network, rate = nn.Linear(2, 2), torch.tensor(1.0)
    begun = torch.optim.Adam(network.parameters(), 0.5)
    network(torch.ones(1, 2)).sum().backward()
    begun.step()
    optimizer = torch.optim.Adam(network.parameters(), rate)
    optimizer.register_load_state_dict_pre_hook(_keep_learning_rates)
    optimizer.load_state_dict(begun.state_dict())
    set_learning_rate(optimizer, 0.125)
    group = optimizer.param_groups[0]
    assert torch.is_tensor(group["lr"]) and group["lr"].item() == pytest.approx(0.125)
    moments = [optimizer.state[weight]["exp_avg"] for weight in network.parameters()]
    assert all(
        torch.equal(one, begun.state[weight]["exp_avg"]) for one, weight in zip(moments, network.parameters())
    )


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 6, 10, 40])
def test_one_cycle_rises_and_falls_whatever_its_length(steps):
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), 1.0)
    schedule, rates = one_cycle(optimizer, 0.5, steps), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) <= 0.5 and min(rates) > 0
    if steps >= 10:
        assert rates[steps // 5 - 1] == pytest.approx(0.5) and rates[-1] < 1e-3
