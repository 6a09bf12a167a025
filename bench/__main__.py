"""`python -m bench`: run the comparison. `python -m bench charts RESULTS.json FOLDER`: write its table and charts."""

import sys

from bench.run import main

sys.exit(main(sys.argv[1:]))
