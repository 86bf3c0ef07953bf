from __future__ import annotations

from services.risk.app import main

main()
