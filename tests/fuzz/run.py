"""`python tests/fuzz/run.py --target=NAME FOLDER… [options]`: fuzz one target with atheris, guided by coverage.

New inputs that reach new code go to the first folder. Needs atheris, which has wheels for Linux on x86-64. libFuzzer
leaves `--target` alone.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))

with atheris.instrument_imports(include=["modelgrid.gateway", "modelgrid.decide"]):
    from targets import TARGETS

if __name__ == "__main__":
    (name,) = (argument[9:] for argument in sys.argv if argument.startswith("--target="))
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
