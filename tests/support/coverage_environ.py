"""What a subprocess that gets a clean environment still needs, so that `make coverage` measures it too."""

from __future__ import annotations

import os
from typing import Final

COVERAGE_ENVIRON: Final = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
