"""What a key must be before it may trade: its own answer to /v5/user/query-api, judged.

A key of ours can place orders and nothing else: it moves no money, works from our addresses only, belongs to a sub-account, and
is renewed before it ends.
"""

from __future__ import annotations

from libs.bybit.hosts import VenueClass
from libs.bybit.wire import KeyInfo

MONEY_GROUPS = ("Wallet", "FiatP2P", "FiatConvertBroker", "FiatGlobalPay", "FiatBitPay", "BitCard", "ByXPost", "Earn")
"""Groups of permissions that let money leave the account or sleep where it cannot be used."""
SHORTEST_DAYS = 14
THIRD_PARTY = 2
BOUND_SITES = {
    "NLD": "nl",
    "TUR": "tr",
    "KAZ": "kz",
    "GEO": "ge",
    "ARE": "ae",
    "IDN": "id",
    "JPN": "jp",
}
"""Country an account was verified in (kycRegion) -> the site whose hosts its keys work on."""
NOT_SERVED = frozenset({"USA", "CHN"})
"""Countries that Bybit turns away."""


def key_faults(info: KeyInfo, region: str, *, spot: bool = False) -> list[str]:
    """Everything that speaks against trading with this key; empty when nothing does. `spot`: whether it must trade spot too."""
    granted = {group: names for group, names in info.permissions.items() if names}
    faults = [f"it can move money ({', '.join(granted[group] or ())})" for group in MONEY_GROUPS if group in granted]
    if not info.ips or "*" in info.ips:
        faults.append("it is bound to no address")
    if info.is_master:
        faults.append("it is of the master account")
    if info.deadline_day is not None and -1 <= info.deadline_day < SHORTEST_DAYS:
        faults.append(f"it expires in {max(info.deadline_day, 0)} days, less than {SHORTEST_DAYS}")
    if info.read_only:
        faults.append("it is read-only")
    needed = [("ContractTrade", "Order"), ("ContractTrade", "Position")] + [("Spot", "SpotTrade")] * spot
    faults += [f"it lacks the permission {group} {n}" for group, n in needed if n not in (granted.get(group) or ())]
    return faults + _region_faults(info, region)


def _region_faults(info: KeyInfo, region: str) -> list[str]:
    country = info.kyc_region or ""
    if country in NOT_SERVED:
        return [f"its account is of {country}, where Bybit serves nobody"]
    site = BOUND_SITES.get(country, region)
    if site != region and not (site == "nl" and region == "eu"):
        return [f"its account is of {country}: expected venue.region {site!r}, was {region!r}"]
    if region == "eu" and info.type != THIRD_PARTY:
        return ["it is a personal key, and the European site takes those of third-party apps only"]
    return []


def checks_by_default(venue: VenueClass) -> bool:
    """Wherever a key is Bybit's."""
    return venue is not VenueClass.SIM


def may_relax(venue: VenueClass) -> bool:
    """Where no harm can come of an unsafe key."""
    return venue in (VenueClass.SIM, VenueClass.TESTNET)


def created_ms(info: KeyInfo) -> int:
    """When the key was made; 0 when the venue does not say (`2024-01-31T00:00:00Z`, UTC)."""
    date, _, clock = (info.created_at or "").rstrip("Z").partition("T")
    parts, times = date.split("-"), clock.split(":")
    if len(parts) != 3 or len(times) != 3 or not all(part.isdigit() for part in parts + times):
        return 0
    (year, month, day), (hour, minute, second) = map(int, parts), map(int, times)
    return (_days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second) * 1000


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date, Gregorian: years counted from March, so that the leap day comes last."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
