from __future__ import annotations

from services.marketdata.app import main

main()
