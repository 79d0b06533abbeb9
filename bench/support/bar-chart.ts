import { median } from './statistics.ts';

/** One bar of a horizontal chart: the median, and the spread as a thin line over its end. */
export interface Bar {
  readonly label: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  /** Drawn grey: something to compare with, not ours. */
  readonly isReference: boolean;
}

export function barOf(label: string, samples: readonly number[], isReference: boolean): Bar {
  return { label, value: median(samples), min: Math.min(...samples), max: Math.max(...samples), isReference };
}

const WIDTH = 760;
const LABEL_WIDTH = 230;
const ROW_HEIGHT = 26;
const TOP = 44;
/** What every chart of the project is drawn in. */
export const COLOURS = { ours: '#2f6fde', reference: '#a8b0bd', text: '#3b4252', spread: '#1b2330', grid: '#d9dee6' };

export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** The distance of the grid's lines: of 1, 2, 5, 10, 20 and so on the first that makes at most ten of them. */
function gridStep(top: number): number {
  for (let power = 1; ; power *= 10) {
    const step = [1, 2, 5].map((digit) => digit * power).find((candidate) => top / candidate <= 10);
    if (step !== undefined) return step;
  }
}

/** Draws bars as an SVG that reads on light and dark pages. */
export function drawBarChart(title: string, unit: string, bars: readonly Bar[]): string {
  const top = Math.max(...bars.map(({ max }) => max));
  const x = (value: number): number => LABEL_WIDTH + (value / top) * (WIDTH - LABEL_WIDTH - 70);
  const height = TOP + bars.length * ROW_HEIGHT + 30;
  const rows = bars.map(({ label, value, min, max, isReference }, index) => {
    const y = TOP + index * ROW_HEIGHT;
    const middle = y + ROW_HEIGHT / 2;
    const fill = isReference ? COLOURS.reference : COLOURS.ours;
    return [
      `<text x="${LABEL_WIDTH - 10}" y="${middle + 4}" text-anchor="end">${escapeXml(label)}</text>`,
      `<rect x="${LABEL_WIDTH}" y="${y + 4}" width="${(x(value) - LABEL_WIDTH).toFixed(1)}" height="${ROW_HEIGHT - 8}" rx="2" fill="${fill}"/>`,
      `<line x1="${x(min).toFixed(1)}" x2="${x(max).toFixed(1)}" y1="${middle}" y2="${middle}" stroke="${COLOURS.spread}" stroke-width="1.5"/>`,
      `<text x="${(x(max) + 8).toFixed(1)}" y="${middle + 4}">${value.toFixed(2)}</text>`,
    ].join('\n  ');
  });
  const step = gridStep(top);
  const marks = Array.from({ length: Math.floor(top / step) + 1 }, (_, index) => {
    const value = index * step;
    const at = x(value).toFixed(1);
    const bottom = height - 26;
    return `<line x1="${at}" x2="${at}" y1="${TOP - 6}" y2="${bottom}" stroke="${COLOURS.grid}"/><text x="${at}" y="${bottom + 16}" text-anchor="middle">${value}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="12" fill="${COLOURS.text}">
  <title>${escapeXml(title)}, ${escapeXml(unit)}</title>
  <rect width="${WIDTH}" height="${height}" fill="#ffffff"/>
  <text x="12" y="22" font-size="14" font-weight="600">${escapeXml(title)}</text>
  <text x="${WIDTH - 12}" y="22" text-anchor="end">${escapeXml(unit)}</text>
  ${marks.join('\n  ')}
  ${rows.join('\n  ')}
</svg>
`;
}
