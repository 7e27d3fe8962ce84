"""A short soak with a fixed seed; ``python -m tests.soak --minutes 30`` runs a long one."""

import json

import pytest
from soak.soak import Plan, Soak


@pytest.mark.timeout(280)
def test_half_a_minute_of_chaos_loses_nothing(tmp_path):
    """Kills, reloads and rescans among random producers; bounds in time are for a busy machine."""
    plan = Plan(seconds=18, seed=20261121, producers=4, patience=120, margin=5)
    soak = Soak(plan, tmp_path / "soak")
    summary = soak.run()
    print(json.dumps(summary, indent=1))
    assert soak.world.wrong == []
    assert summary["sources"]["stored"] == summary["instances"] > 100
    done = summary["done"]
    assert done["rest"] >= 2
    assert min(done[what] for what in ("daemon killed", "create", "copy tree")) > 0
