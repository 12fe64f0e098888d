"""Numbers as the report prints them: d with two decimals, p with three and never rounded across alpha.

ASCII minus everywhere (figures have their own); full precision stands in the CSV files.
"""

import math

LEAST_P = 0.001  # below it the report says so instead of counting zeros


def format_d(d: float) -> str:
    """Two decimals; never ``-0.00``."""
    return "n/a" if math.isnan(d) else f"{round(d, 2) + 0.0:.2f}"


def format_interval(low: float, high: float) -> str:
    """``0.20 to 1.01``, for text."""
    return f"{format_d(low)} to {format_d(high)}"


def format_brackets(low: float, high: float) -> str:
    """``[0.20, 1.01]``, for tables."""
    return f"[{format_d(low)}, {format_d(high)}]"


def format_p(p: float, *, alpha: float = 0.05) -> str:
    """``0.008`` or ``< 0.001``; more decimals where three would put p on ``alpha`` or on the other side of it."""
    if math.isnan(p):
        return "n/a"
    if p < min(LEAST_P, alpha):
        return f"< {LEAST_P}" if alpha >= LEAST_P else f"< {alpha:g}"
    texts = (f"{p:.{decimals}f}" for decimals in range(3, 16))
    side = (p > alpha) - (p < alpha)
    return next((text for text in texts if (float(text) > alpha) - (float(text) < alpha) == side), repr(p))


def format_p_equation(p: float, *, alpha: float = 0.05, symbol: str = "p") -> str:
    """``p = 0.008`` or ``p < 0.001``."""
    text = format_p(p, alpha=alpha)
    return f"{symbol} {text}" if text.startswith("<") else f"{symbol} = {text}"


def format_small(p: float) -> str:
    """Two significant digits at any size: ``0.31``, ``2.1e-9``."""
    mantissa, _, exponent = f"{p:.2g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def format_percent(share: float) -> str:
    """``95 %``."""
    return f"{100 * share:g} %"


def format_rate(rate: float) -> str:
    """``12.3``, per cent."""
    return f"{100 * rate:.1f}"


def format_rates(interval: tuple[float, float] | None) -> str:
    """``10.1 to 14.0``, per cent; ``-`` where there is none."""
    return "-" if interval is None else f"{format_rate(interval[0])} to {format_rate(interval[1])}"


def format_seconds(seconds: float) -> str:
    """``48 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{round(whole / 60) // 60} h {round(whole / 60) % 60} min"


def count(number: int, noun: str) -> str:
    """``1 clip``, ``12,000 clips``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
