from __future__ import annotations

from services.signal.app import main

main()
