"""Write docs/metrics.md: `python -m milepost.runtime.metrics docs/metrics.md`."""

import sys
from pathlib import Path

from milepost.runtime.metrics import catalogue  # noqa: F401 - declares what the page shows
from milepost.runtime.metrics.page import page

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
