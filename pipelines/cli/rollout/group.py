"""``slipway rollout``: traffic between two versions, by evidence or by hand."""

import click

from pipelines.cli.verbs import Verbs

HERE = "pipelines.cli.rollout"
VERBS = {
    "abort": (f"{HERE}.orders:abort", "Send the candidate home."),
    "approve": (f"{HERE}.orders:approve", "Let the step begin that waits for a person."),
    "controller": (
        f"{HERE}.controller:controller",
        "Look after all models of a namespace until it is ended: slots and rollouts of the ledger become traffic.",
    ),
    "experiment": (
        "pipelines.cli.experiment:experiment",
        "Compare two versions on a fixed split; looking at it as often as one likes changes no error rate.",
    ),
    "explain": (f"{HERE}.looking:explain", "Each gate's counts, the inputs of its formula, and what follows."),
    "history": (f"{HERE}.journal:history", "The journal: each intent, decision and command with its numbers."),
    "labels": (
        f"{HERE}.labels:labels",
        "Tell the rollout the truths in the table at URI: columns request_id and the target's name.",
    ),
    "page": (
        f"{HERE}.looking:page",
        "Write the newest rollout as one HTML page: decision, split, evidence against its bars, timeline.",
    ),
    "pause": (f"{HERE}.orders:pause", "Hold the split where it is."),
    "plan": (
        f"{HERE}.starting:plan",
        "The steps, the requests each needs, and where traffic is too little for a verdict.",
    ),
    "promote": (
        f"{HERE}.by_hand:promote",
        "Give the canary everything: the live rollout's if its evidence allows, else the one set by hand.",
    ),
    "replay": (
        f"{HERE}.journal:replay",
        "Decide everything again from the journal; any difference, or an edited record, is an error.",
    ),
    "resume": (f"{HERE}.orders:resume", "Go on after a pause."),
    "rollback": (
        f"{HERE}.by_hand:rollback",
        "Back to the version before: a live rollout is aborted, else the ledger's previous version serves again.",
    ),
    "set": (f"{HERE}.by_hand:set_", "Give the canary PERCENT of requests by hand; 0 ends it."),
    "simulate": (
        f"{HERE}.starting:simulate",
        "False rollbacks and false promotions of the rule, beside thresholds and a peeking z-test.",
    ),
    "start": (
        f"{HERE}.starting:start",
        "Start the project's plan for VERSION; starting it again joins the one that runs.",
    ),
    "status": (
        f"{HERE}.looking:status",
        "Phase, step, the split as configured, observed and realized, and the evidence against its threshold.",
    ),
    "unlock": (f"{HERE}.orders:unlock", "Take the lease from a controller that is gone."),
    "watch": (f"{HERE}.starting:watch", "Follow the live rollout to its end: 0 promoted, 10 rolled back, 20 paused."),
}


@click.group(cls=Verbs, verbs=VERBS)
def rollout() -> None:
    """Move traffic to a new version step by step, by evidence; or set the split by hand."""
