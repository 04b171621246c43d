"""The sentences of a report: what was won, what was lost, in plain words."""

from html import escape

from relive.bench.report_data import ReportData, Standing


def kilobytes(count: int) -> str:
    """Write a number of bytes for people."""
    return f"{count / 1e6:.2f} MB" if count >= 1_000_000 else f"{count / 1e3:.1f} kB"


def decibels(value: float | None) -> str:
    """Write a PSNR, or a dash where it is not known."""
    return "–" if value is None else f"{value:.2f} dB"


def rate_text(data: ReportData) -> str:
    """Write the rate of the shown file, per pixel and per second."""
    c = data.comparison
    return f"{c.bits_per_pixel:.3f} bits per pixel, {c.bits_per_second / 1e3:.0f} kbit/s"


def chip(standing: Standing) -> str:
    """Return the difference at equal bytes as a coloured word."""
    kind = standing.verdict
    if standing.difference_db is None:
        return '<span class="chip none">not comparable</span>'
    difference = f"{standing.difference_db:+.2f} dB".replace("-", "−")
    return f'<span class="chip {kind}">{kind} {difference}</span>'


def verdict(data: ReportData) -> str:
    """Say in two or three sentences how the shown file stands against the others."""
    c = data.comparison
    sentences = [
        f"Relive stores this session in <b>{kilobytes(c.bytes)}</b> "
        f"({c.bits_per_pixel:.3f} bits per pixel) at <b>{c.psnr_db:.2f} dB</b>."
    ]
    for kind, lead in (("ahead", "Ahead of "), ("level", "Level with "), ("behind", "Behind ")):
        group = [s for s in data.standings if s.verdict == kind]
        if group:
            sentences.append(f"{lead}{_join([_gap(s) for s in group])} at equal bytes.")
    missing = [escape(s.label) for s in data.standings if s.verdict == "not comparable"]
    if missing:
        sentences.append(f"{_join(missing)} did not reach this rate and cannot be compared.")
    return " ".join(sentences)


def _gap(standing: Standing) -> str:
    gap = abs(standing.difference_db or 0.0)
    if standing.verdict == "level":
        return escape(standing.label)
    return f"{escape(standing.label)} by <b>{gap:.2f} dB</b>"


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def standings_note(data: ReportData) -> str:
    """Explain the columns, and why a BD-rate is missing where it is."""
    text = (
        "Values between measured points are interpolated. BD-rate: how many more bytes Relive "
        "needs over the range of quality that both reach, which stands below it; under zero it "
        "needs fewer. The last column takes the zipped CSV of the states off the other codec’s "
        "bytes, since our file holds them."
    )
    reasons = [f"{escape(s.label)}: {escape(s.bd.reason)}" for s in data.standings if s.bd.reason]
    return text + (f" No BD-rate for {'; '.join(reasons)}." if reasons else "")
