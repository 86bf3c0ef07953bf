"""`python -m services.execution`."""

from services.execution.app import main

if __name__ == "__main__":
    main()
