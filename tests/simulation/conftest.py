"""The simulation stands on the catalog of the property tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "property"))
