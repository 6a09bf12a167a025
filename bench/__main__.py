"""`python -m bench`: run the comparison. `python -m bench charts RESULTS.json FOLDER`: write its table and charts.

`python -m bench soak`, `flat`, `latency`, `snapshots`, `scale`, `startup`: the other measurements, a module each.
"""

import sys
from importlib import import_module

SCENARIOS = {"soak": "bench.soak.run"} | {
    name: f"bench.scaling.{name}" for name in ("flat", "latency", "snapshots", "scale", "startup")
}

if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in SCENARIOS:
        sys.exit(import_module(SCENARIOS[name]).main(sys.argv[2:]))
    sys.exit(import_module("bench.compare.run").main(sys.argv[1:]))
