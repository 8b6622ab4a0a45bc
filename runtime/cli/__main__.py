"""`python -m runtime.cli` is `synthc`."""

import sys

from runtime.cli import main

sys.exit(main())
