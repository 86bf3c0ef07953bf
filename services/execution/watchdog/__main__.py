"""`python -m services.execution.watchdog`."""

import sys

from services.execution.watchdog.app import main

if __name__ == "__main__":
    sys.exit(main())
