"""`python -m services.monitor`."""

from services.monitor.app import main

if __name__ == "__main__":
    main()
