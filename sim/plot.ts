import { COLOURS, escapeXml } from '../bench/support/bar-chart.ts';

/** A number of receivers, and its time over the bound. */
export interface PlotPoint {
  readonly receivers: number;
  readonly ratio: number;
}

const WIDTH = 760;
const HEIGHT = 400;
const LEFT = 58;
const RIGHT = 30;
const TOP = 56;
const BOTTOM = 54;
const RATIO_MAX = 100;

/**
 * Draws the time over the bound against the number of receivers, both on logarithmic axes, beside what simpler ways of
 * distributing take: everybody from the one source, and from those who have all of it.
 */
export function drawPlot(title: string, subtitle: string, points: readonly PlotPoint[]): string {
  const most = Math.max(10, ...points.map(({ receivers }) => receivers));
  const decades = Math.ceil(Math.log10(most));
  const x = (receivers: number): number => LEFT + (Math.log10(receivers) / decades) * (WIDTH - LEFT - RIGHT);
  const y = (ratio: number): number =>
    HEIGHT - BOTTOM - (Math.log10(ratio) / Math.log10(RATIO_MAX)) * (HEIGHT - TOP - BOTTOM);
  const sorted = [...points].sort((one, other) => one.receivers - other.receivers);
  const counts = Array.from({ length: decades * 20 + 1 }, (_, step) => 10 ** (step / 20));
  const whole = counts.map((receivers) => ({ receivers, ratio: Math.max(1, Math.log2(receivers + 1)) }));
  const alone = counts
    .filter((receivers) => receivers <= RATIO_MAX)
    .map((receivers) => ({ receivers, ratio: receivers }));
  const line = (of: readonly PlotPoint[], attributes: string): string =>
    `<polyline points="${of.map(({ receivers, ratio }) => `${x(receivers).toFixed(1)},${y(ratio).toFixed(1)}`).join(' ')}" fill="none" ${attributes}/>`;
  const reference = `stroke="${COLOURS.reference}" stroke-width="1.8"`;
  const last = 10 ** decades;
  const marks = sorted.map(({ receivers, ratio }) => {
    const at = x(receivers).toFixed(1);
    return `<circle cx="${at}" cy="${y(ratio).toFixed(1)}" r="3.5" fill="${COLOURS.ours}"/><text x="${at}" y="${(y(ratio) - 9).toFixed(1)}" text-anchor="middle">${ratio.toFixed(2)}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="12" fill="${COLOURS.text}">
  <title>${escapeXml(`${title}, ${subtitle}`)}</title>
  <rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>
  <text x="12" y="22" font-size="14" font-weight="600">${escapeXml(title)}</text>
  <text x="12" y="40">${escapeXml(subtitle)}</text>
  ${drawGrid(x, y, decades)}
  ${line(alone, reference)}
  <text x="${(x(RATIO_MAX) - 8).toFixed(1)}" y="${TOP + 14}" text-anchor="end">everybody from the one source</text>
  ${line(whole, reference)}
  <text x="${x(last).toFixed(1)}" y="${(y(Math.log2(last)) - 10).toFixed(1)}" text-anchor="end">from those who have all of it</text>
  ${line(sorted, `stroke="${COLOURS.ours}" stroke-width="2"`)}
  ${marks.join('\n  ')}
</svg>
`;
}

function drawGrid(x: (receivers: number) => number, y: (ratio: number) => number, decades: number): string {
  const upright = Array.from({ length: decades + 1 }, (_, power) => {
    const at = x(10 ** power).toFixed(1);
    const count = (10 ** power).toLocaleString('en');
    return `<line x1="${at}" x2="${at}" y1="${TOP}" y2="${y(1)}" stroke="${COLOURS.grid}"/><text x="${at}" y="${y(1) + 17}" text-anchor="middle">${count}</text>`;
  });
  const level = [1, 2, 5, 10, 20, 50, RATIO_MAX].map((ratio) => {
    const at = y(ratio).toFixed(1);
    return `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="${COLOURS.grid}"/><text x="${LEFT - 8}" y="${Number(at) + 4}" text-anchor="end">${ratio}</text>`;
  });
  const middle = (TOP + y(1)) / 2;
  return [
    ...upright,
    ...level,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 14}" text-anchor="middle">receivers</text>`,
    `<text x="16" y="${middle}" text-anchor="middle" transform="rotate(-90 16 ${middle})">time over the bound</text>`,
  ].join('\n  ');
}
