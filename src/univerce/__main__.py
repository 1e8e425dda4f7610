"""``python -m univerce``, the command line."""

import sys

from univerce.cli import main

sys.exit(main())
