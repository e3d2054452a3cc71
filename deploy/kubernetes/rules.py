"""Print the rules of deploy/prometheus/rules as objects of the Prometheus operator; standard library alone.

python deploy/kubernetes/rules.py > deploy/kubernetes/overlays/monitoring/rules.yaml
"""

import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

RULES = Path(__file__).parents[1] / "prometheus" / "rules"
HEAD = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: kilter-{name}
  labels:
    app.kubernetes.io/name: kilter
    app.kubernetes.io/part-of: kilter
spec:
"""


def manifest(files: Iterable[Path]) -> str:
    """One PrometheusRule for each file of rules, whose text is indented and otherwise as it is."""
    objects = (HEAD.format(name=file.stem) + textwrap.indent(file.read_text(), "  ") for file in files)
    return "# Made by deploy/kubernetes/rules.py: change the files there, not this one.\n" + "---\n".join(objects)


if __name__ == "__main__":
    sys.stdout.write(manifest(sorted(RULES.glob("*.yml"))))
