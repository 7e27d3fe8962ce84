"""The summary of a soak, and how to repeat it."""

import json
import shutil

MOST_SHOWN = 30


def show(soak, summary, *, temporary):
    """Print it; returns the exit status. A temporary folder is kept where something was wrong."""
    plan, wrong = soak.plan, soak.world.wrong
    print(json.dumps(summary, indent=1))
    if not wrong:
        if temporary:
            shutil.rmtree(soak.world.places.root)
        print("Nothing was wrong.")
        return 0
    print(f"\n{len(wrong)} THINGS WERE WRONG:")
    for line in wrong[:MOST_SHOWN]:
        print(f"- {line}")
    print(f"\nEverything lies in {soak.world.places.root}. Again with the same producers:")
    print(
        f"python -m tests.soak --minutes {plan.seconds / 60:g} --seed {plan.seed} --retire {plan.retire} "
        f"--producers {plan.producers}"
    )
    return 1
