"""Log-likelihood against cost of everything that a search sampled or scored, early to late."""
from collections.abc import Sequence

from .searched import Searched
from .svg import Chart, escape, finite, thinned

__all__ = ['cloud_chart']

MILLION = 1e6
POINTS = 3000
SHADES = 5  # classes q0 .. q4


def cloud_chart(run: Searched) -> str:
    """Log-likelihood per image against multiply-adds of the samples or candidates; '' if none are recorded."""
    points = _sampled(run)
    if points:
        first, last = points[0][0] + 1, points[-1][0] + 1
        said = f'of {_count(run):,} architectures sampled for alpha. Each is measured on one batch, with the weights ' \
               'of its step'
        return _chart(points, run.target, 'sampled architectures', (f'epoch {first}', f'epoch {last}'), said)
    points = [(i, x / MILLION, y) for i, (x, y) in enumerate(run.candidates)]
    if not points:
        return ''
    said = f'of {len(points):,} architectures, all scored on the same images with the same weights'
    return _chart(points, run.target, 'candidates', ('first', 'last'), said)


def _sampled(run: Searched) -> list[tuple[int, float, float]]:
    """Epoch, millions of multiply-adds and nats per image of the samples in the history."""
    images, points = run.images_per_step, []
    for row in run.history:
        found = row.get('sampled')
        if isinstance(found, dict):
            pairs = zip(found.get('cost', []), found.get('log_likelihood', []))
            points += [(row['epoch'], x / MILLION, y / images) for x, y in pairs if finite(x) and finite(y)]
    return points


def _count(run: Searched) -> int:
    count = run.history[-1].get('num_samples')
    return count if type(count) is int else 0


def _chart(
        points: Sequence[tuple[int, float, float]], target: float | None, what: str, ends: tuple[str, str], said: str
) -> str:
    shown = thinned(points, POINTS)
    xs, ys = [x for _, x, _ in points] + ([target / MILLION] if target else []), [y for *_, y in points]
    edge, room = (max(xs) - min(xs)) * 0.03, (max(ys) - min(ys)) * 0.03
    title = f'{what}: log-likelihood per image against multiply-adds'
    chart = Chart(title, (min(xs) - edge, max(xs) + edge), (min(ys) - room, max(ys) + room),
                  'multiply-adds, millions', 'nats per image')
    first, last = points[0][0], points[-1][0]
    for shade in range(SHADES):
        low, high = (first + (last + 1 - first) * i / SHADES for i in (shade, shade + 1))
        chart.cloud([(x, y) for at, x, y in shown if low <= at < high], shade)
    if target:
        chart.upright(target / MILLION, 'target')
    shades = ''.join(f'<span class="shade q{i}"></span>' for i in range(SHADES))
    return (
        f'<figure><figcaption>{escape(title)}</figcaption>{chart.svg()}'
        f'<p class="legend">{ends[0]} {shades} {ends[1]}</p>'
        f'<p class="faint">{len(shown):,} points, {said}.</p></figure>'
    )
