"""``slipway rollout``: traffic between two versions, by evidence or by hand."""

import click

from pipelines.cli.experiment import experiment
from pipelines.cli.rollout import by_hand, labels, looking, orders, starting
from pipelines.cli.rollout.controller import controller


@click.group()
def rollout() -> None:
    """Move traffic to a new version step by step, by evidence; or set the split by hand."""


for _verb in (
    *(starting.plan, starting.start, starting.watch, starting.simulate),
    *(looking.status, looking.explain, looking.page, looking.history, looking.replay),
    *(orders.pause, orders.resume, orders.approve, orders.abort, orders.unlock),
    *(by_hand.set_, by_hand.promote, by_hand.rollback, labels.labels, experiment, controller),
):
    rollout.add_command(_verb)
