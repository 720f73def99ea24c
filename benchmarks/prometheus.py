"""Counters in a page of Prometheus metrics."""

import re
import urllib.request

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def read(url: str) -> str:
    """The page. Raises OSError."""
    with urllib.request.urlopen(url, timeout=10) as page:
        text: str = page.read().decode()
    return text


def total(page: str, name: str, **labels: str) -> int:
    """The sum over all series of that name that carry these labels."""
    found = 0.0
    for line in page.splitlines():
        series, _, value = line.rpartition(" ")
        if series.partition("{")[0] == name and labels.items() <= dict(_LABEL.findall(series)).items():
            found += float(value)
    return round(found)
