"""How much is in a catalogue."""

from __future__ import annotations

from typing import Any

from relive.catalog.catalog import Catalog


def summary(catalog: Catalog) -> dict[str, Any]:
    """Count files, hours, frames, bytes, and what the tables hold."""
    (totals,) = catalog.records(
        "SELECT count(*) AS files, "
        "count(*) FILTER (condition = 'damaged') AS damaged, "
        "count(*) FILTER (condition = 'broken') AS broken, "
        "count(*) FILTER (missing) AS missing, "
        "count(*) FILTER (verified) AS verified, "
        "count(nullif(sha256, '')) - count(DISTINCT nullif(sha256, '')) AS copies, "
        "coalesce(sum(duration_s), 0) / 3600 AS hours, "
        "coalesce(sum(frames), 0)::BIGINT AS frames, "
        "coalesce(sum(bytes), 0)::BIGINT AS bytes FROM files"
    )
    for name in ("gops", "events"):
        totals[name] = catalog.count(name)
    totals["pictures"] = sum(map(catalog.count, catalog.tables("descriptors")))
    totals["catalog_bytes"] = catalog.path.stat().st_size if catalog.path else 0
    totals["games"] = catalog.records(
        "SELECT game, count(*) AS files, sum(duration_s) / 3600 AS hours, "
        "sum(bytes)::BIGINT AS bytes FROM files GROUP BY game ORDER BY game"
    )
    return totals
