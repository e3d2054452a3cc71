"""Models change under load: every verdict is of the version and the threshold that it names."""

import gc
from pathlib import Path

from tests.support.administration import Service
from tests.support.churn import Churn
from tests.support.versions import NAME, add


def test_fifty_changes_under_load_are_seen_by_nobody(tmp_path: Path) -> None:
    """New versions, damaged ones, roll-backs, unloads, thresholds and shadows in a row; see `Churn.check`."""
    for _ in range(2):
        add(tmp_path)
    service = Service(tmp_path)
    with service.client() as http:
        churn = Churn(http.http, tmp_path)
        http.together(churn.run(changes=50, clients=6))
    service.registry.shadow_thread.stop()
    assert len(churn.check()) > 5
    assert len(churn.sent) > 100
    gc.collect()  # a refused request's error and its frames hold each other, and what judged it
    labels = {(f.name, *s.labels.values()) for f in service.metrics.registry.collect() for s in f.samples}
    versions = {s[2] for s in labels if len(s) > 2 and s[1] == NAME and s[0] == "kilter_target_fpr"}
    assert versions == {str(version) for version in service.registry.versions(NAME)}
