"""What a key may do, as it may ask about itself: /v5/user/query-api."""

from __future__ import annotations

from typing import Any

from sim.engine.account import AccountSpec

GROUPS = {
    "ContractTrade": ("Order", "Position"),
    "Spot": ("SpotTrade",),
    "Wallet": ("AccountTransfer", "SubMemberTransfer", "SubMemberTransferList", "Withdraw"),
    "Options": ("OptionsTrade",),
    "Derivatives": ("DerivativesTrade",),
    "CopyTrading": ("CopyTrading",),
    "BlockTrade": ("BlockTrade",),
    "Exchange": ("ExchangeHistory",),
    "NFT": ("NFTQueryProductList",),
    "Affiliate": ("Affiliate",),
    "Earn": ("Earn",),
    "FiatP2P": ("FiatP2POrder", "Advertising"),
    "FiatConvertBroker": ("FiatConvertBrokerOrder",),
    "FiatGlobalPay": ("FaitPay",),
    "FiatBitPay": ("FaitPayOrder",),
    "BitCard": ("BitCard",),
    "ByXPost": ("ByXPost",),
}
"""Group -> its permissions, Bybit's spelling. A key's `permissions` are names of the right side."""
PERMISSIONS = frozenset(name for names in GROUPS.values() for name in names)
DAY_MS = 86_400_000
UNBOUND_DAYS = 90
"""A key without an address expires after so many days."""


def query_api(spec: AccountSpec, address: str, now_ms: int) -> dict[str, Any]:
    """`address` is the caller's: a key of the simulator that names none counts as bound to whoever uses it."""
    days, expires = _deadline(spec, now_ms)
    permissions = {group: [n for n in names if n in spec.permissions] for group, names in GROUPS.items()}
    if not spec.read_only and "Order" in spec.permissions:
        permissions["Derivatives"] = ["DerivativesTrade"]
    return {
        "id": str(spec.uid or 1),
        "note": spec.note,
        "apiKey": spec.key,
        "readOnly": int(spec.read_only),
        "secret": "",
        "permissions": permissions,
        "ips": list(spec.ips) or [address or "127.0.0.1"],
        "type": 1,
        "deadlineDay": days,
        "expiredAt": expires,
        "createdAt": "2024-01-01T00:00:00Z",
        "unified": 0,
        "uta": 1,
        "userID": spec.uid or 1,
        "inviterID": 0,
        "vipLevel": "No VIP",
        "mktMakerLevel": "0",
        "affiliateID": 0,
        "rsaPublicKey": spec.rsa_public_key,
        "isMaster": not spec.parent_uid,
        "parentUid": str(spec.parent_uid),
        "kycLevel": "LEVEL_DEFAULT",
        "kycRegion": spec.kyc_region,
        "userIDInt64": str(spec.uid or 1),
        "inviterIDInt64": "0",
        "affiliateIDInt64": "0",
    }


def _deadline(spec: AccountSpec, now_ms: int) -> tuple[int, str]:
    """(deadlineDay, expiredAt): -2 and the epoch for a bound key that never expires."""
    ends_ms = spec.expires_ms
    if ends_ms is None:
        if "*" not in spec.ips:
            return -2, "1970-01-01T00:00:00Z"
        ends_ms = now_ms + UNBOUND_DAYS * DAY_MS
    return (ends_ms - now_ms) // DAY_MS, f"{date_text(ends_ms // DAY_MS)}T{_clock_text(ends_ms % DAY_MS)}Z"


def date_text(days: int) -> str:
    """Days since 1970-01-01 as YYYY-MM-DD (Gregorian; years counted from March, so that the leap day comes last)."""
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month = month + 3 if month < 10 else month - 9
    return f"{era * 400 + year + (month <= 2):04d}-{month:02d}-{day + 1:02d}"


def _clock_text(ms: int) -> str:
    minutes, seconds = divmod(ms // 1000, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
