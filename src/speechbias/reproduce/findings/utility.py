"""Section 3.3: whether compressed models still recognise phones "reasonably".

The paper compares with error rates of another work. Here a compressed model is reasonable if its probe makes fewer
errors than one on a classical feature, of the same recipe on the same utterances.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from speechbias.paper import TABLE_4
from speechbias.report.error_rates import is_rate, of_one_protocol
from speechbias.reproduce.findings.compression import MADE_BY
from speechbias.reproduce.findings.evidence import Evidence
from speechbias.reproduce.findings.finding import Effect, Finding, Says, Statement


def findings(evidence: Evidence) -> Iterator[Finding]:
    """That of Table 4."""
    yield _still_recognise(evidence)


def _still_recognise(evidence: Evidence) -> Finding:
    """The highest rate of a compressed model; intervals that do not meet tell it from that of a feature."""
    printed = [rate for row in TABLE_4 for rate in row.compressed]
    bases = [row.base for row in TABLE_4]
    statement = Statement(
        "3.3",
        "compressed models still recognise phones, better than a classical feature does",
        "phone error rates",
        unit="share",
        paper=f"{min(printed)} to {max(printed)} %, of {min(bases)} to {max(bases)} % before; no feature's",
    )
    usable = [each for each in evidence.rates if each.get("kind") == "per" and is_rate(each.get("per"))]
    usable = of_one_protocol(usable) if usable else []
    compressed = [each for each in usable if _is_compressed(each)]
    features = [each for each in usable if each.get("family") == "features"]
    if not compressed or not features:
        return statement.absent("it takes probes of a feature (--model mel) and of compressed models, of one recipe")
    feature = _rate(min(features, key=lambda each: each["per"]))
    rates = [_rate(each) for each in compressed]
    worst = max(rates, key=lambda each: each.value)
    note = f"the highest of {len(rates)} rates, beside {features[0]['model']}'s {feature.value:.2f}"
    return statement.judged(worst, _verdict(rates, feature), note)


def _verdict(rates: list[Effect], feature: Effect) -> Says:
    """Supported if every interval is below the feature's, contradicted if one is above it."""
    if feature.low is None or feature.high is None:
        return Says.unclear
    if all(each.high is not None and each.high < feature.low for each in rates):
        return Says.supported
    above = any(each.low is not None and each.low > feature.high for each in rates)
    return Says.contradicted if above else Says.unclear


def _is_compressed(record: Mapping[str, Any]) -> bool:
    removed = record.get("method") in MADE_BY and record.get("parameters_removed")
    return bool((removed and record.get("criterion") != "random") or record.get("distilled_from"))


def _rate(record: Mapping[str, Any]) -> Effect:
    low, high = record.get("ci_low"), record.get("ci_high")
    return Effect(float(record["per"]), low if is_rate(low) else None, high if is_rate(high) else None)
