"""Currencies, and units of measurement of which one is so many times another."""

from collections.abc import Iterable

_CODES = """
AED AFN ALL AMD AOA ARS AUD AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTC BTN BWP BYN BZD CAD CDF CHF CLP CNY
COP CRC CUP CZK DJF DKK DOP DZD EGP ETB EUR FJD GBP GEL GHS GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK
JMD JOD JPY KES KGS KHR KRW KWD KZT LAK LBP LKR LRD LYD MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN
NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SDG SEK SGD SOS SYP THB TJS TMT TND TRY TTD
TWD TZS UAH UGX USD UYU UZS VND XAF XOF YER ZAR ZMW DEM FRF ITL
"""
CODES = frozenset(_CODES.split())
SYMBOLS = {
    "€": "EUR",
    "£": "GBP",
    "₹": "INR",
    "₩": "KRW",
    "₽": "RUB",
    "₺": "TRY",
    "₪": "ILS",
    "₫": "VND",
    "₴": "UAH",
    "₱": "PHP",
    "฿": "THB",
    "₿": "BTC",
    "zł": "PLN",
    "Kč": "CZK",
    "Ft": "HUF",
    "R$": "BRL",
    "US$": "USD",
    "A$": "AUD",
    "C$": "CAD",
    "HK$": "HKD",
    "Fr.": "CHF",
    "Rs.": "INR",
    "Rs": "INR",
    "$": "$",
    "¥": "¥",
    "kr": "kr",
    "kr.": "kr",
}
"""Signs and abbreviations to the code of their currency, or to themselves where several countries have them."""

QUANTITIES: tuple[dict[str, float], ...] = tuple(
    {name: size for names, size in quantity.items() for name in names.split()}
    for quantity in (
        {"% percent pct": 1.0, "‰": 0.1},
        {
            "ns": 1e-9,
            "us µs μs": 1e-6,
            "ms msec": 1e-3,
            "s sec secs second seconds": 1.0,
            "m min mins minute minutes": 60.0,
            "h hr hrs hour hours": 3600.0,
            "d day days": 86_400.0,
            "w week weeks": 604_800.0,
        },
        {
            "B byte bytes": 1.0,
            "kB KB": 1e3,
            "MB": 1e6,
            "GB": 1e9,
            "TB": 1e12,
            "PB": 1e15,
            "KiB": 2.0**10,
            "MiB": 2.0**20,
            "GiB": 2.0**30,
            "TiB": 2.0**40,
        },
        {"bps bit/s": 1.0, "kbps kbit/s": 1e3, "Mbps Mbit/s": 1e6, "Gbps Gbit/s": 1e9},
        {
            "nm": 1e-9,
            "µm μm um": 1e-6,
            "mm": 1e-3,
            "cm": 1e-2,
            "dm": 1e-1,
            "m": 1.0,
            "km": 1e3,
            "in": 0.0254,
            "ft": 0.3048,
            "yd": 0.9144,
            "mi": 1609.344,
        },
        {"µg μg": 1e-6, "mg": 1e-3, "g": 1.0, "kg": 1e3, "t": 1e6, "oz": 28.349523125, "lb lbs": 453.59237},
        {"µl μl": 1e-6, "ml mL": 1e-3, "cl cL": 1e-2, "dl dL": 1e-1, "l L": 1.0},
        {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
        {"mW": 1e-3, "W": 1.0, "kW": 1e3, "MW": 1e6, "GW": 1e9},
        {"Wh": 1.0, "kWh": 1e3, "MWh": 1e6, "GWh": 1e9},
        {"J": 1.0, "kJ": 1e3, "MJ": 1e6},
        {"µV μV": 1e-6, "mV": 1e-3, "V": 1.0, "kV": 1e3},
        {"µA μA": 1e-6, "mA": 1e-3, "A": 1.0},
        {"Pa": 1.0, "hPa mbar": 1e2, "kPa": 1e3, "bar": 1e5, "MPa": 1e6},
        {"m/s": 1.0, "km/h kmh": 1 / 3.6, "mph": 0.44704, "kn": 0.514444},
        {"k K": 1e3, "M": 1e6, "G B bn": 1e9, "T": 1e12},
    )
)
"""Units of the same quantity, with their sizes in one of them; the last make 1.2k of 1200."""
SECONDS, PREFIXES = QUANTITIES[1], QUANTITIES[-1]
PREFIXES[""] = 1.0


def currency_of(word: str) -> str | None:
    """What a word before or after a number says of its currency: a code or a sign; None if it is none."""
    return SYMBOLS.get(word) or (word if word in CODES else None)


def quantity_of(units: Iterable[str]) -> dict[str, float] | None:
    """The first quantity that has all of some units; None if none has."""
    wanted = {*units}
    return next((quantity for quantity in QUANTITIES if wanted <= quantity.keys()), None)


def factor(unit: str, into: str) -> float | None:
    """What a number in one unit is multiplied with to be one in another; None if they cannot be compared."""
    quantity = quantity_of([unit, into])
    if quantity is not None:
        return quantity[unit] / quantity[into]
    return 1.0 if unit.casefold() == into.casefold() else None
