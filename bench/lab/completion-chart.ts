import { COLOURS, escapeXml } from '../support/bar-chart.ts';

export interface Curve {
  readonly kind: 'plain' | 'slow' | 'half uplink' | 'killed' | 'alone';
  readonly points: readonly (readonly [seconds: number, share: number])[];
}

export interface Mark {
  readonly label: string;
  readonly seconds: number;
}

export interface CompletionChart {
  readonly title: string;
  readonly subtitle: string;
  readonly xTitle: string;
  readonly curves: readonly Curve[];
  /** Upright lines, such as the time of one alone. */
  readonly marks: readonly Mark[];
}

const WIDTH = 760;
const HEIGHT = 400;
const LEFT = 58;
const RIGHT = 24;
const TOP = 84;
const BOTTOM = 54;
const X_TICKS = 8;
const LEGEND_ROW_Y = 60;
const LEGEND_LINE = 20;
const CHARACTER_WIDTH = 6.3;

const STYLES: Record<Curve['kind'], { readonly stroke: string; readonly attributes: string; readonly label: string }> =
  {
    plain: { stroke: COLOURS.ours, attributes: 'stroke-width="1.4" stroke-opacity="0.55"', label: 'receivers' },
    'half uplink': { stroke: '#7a3fc4', attributes: 'stroke-width="1.8"', label: 'half the uplink' },
    slow: { stroke: '#c9720a', attributes: 'stroke-width="1.8"', label: 'slow' },
    killed: { stroke: '#c8323c', attributes: 'stroke-width="1.8"', label: 'killed' },
    alone: { stroke: COLOURS.text, attributes: 'stroke-width="1.8" stroke-dasharray="6 4"', label: 'one alone' },
  };

/** Draws how much each receiver had when, as an SVG that reads on light and dark pages. */
export function drawCompletionChart({ title, subtitle, xTitle, curves, marks }: CompletionChart): string {
  // A slow receiver may take ten times as long; its curve then leaves the picture, and the legend says when it ended.
  const shown = curves
    .filter(({ kind }) => kind !== 'slow')
    .flatMap(({ points }) => points.map(([seconds]) => seconds));
  const end = Math.max(...shown, ...marks.map(({ seconds }) => seconds), 0.1);
  const step = roundStep(end / X_TICKS);
  const xMax = Math.ceil((end * 1.02) / step) * step;
  const x = (seconds: number): number => LEFT + (Math.max(0, seconds) / xMax) * (WIDTH - LEFT - RIGHT);
  const y = (share: number): number => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
  const scale = { x, y };
  const clip = `<clipPath id="plot"><rect x="${LEFT}" y="${TOP - 6}" width="${WIDTH - LEFT - RIGHT + 6}" height="${HEIGHT - TOP - BOTTOM + 12}"/></clipPath>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="12" fill="${COLOURS.text}">
  <title>${escapeXml(`${title}, ${subtitle}`)}</title>
  <rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>
  <text x="12" y="22" font-size="14" font-weight="600">${escapeXml(title)}</text>
  <text x="12" y="40">${escapeXml(subtitle)}</text>
  ${drawLegend(curves)}
  ${drawGrid(scale, step, xMax, xTitle)}
  ${drawMarkLines(scale, marks)}
  ${clip}
  <g clip-path="url(#plot)">
  ${curves.map((curve) => drawCurve(scale, curve)).join('\n  ')}
  </g>
  ${drawMarkLabels(scale, marks)}
</svg>
`;
}

interface Scale {
  readonly x: (seconds: number) => number;
  readonly y: (share: number) => number;
}

/** 1, 2 or 5 times a power of ten, at least `least`. */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5].find((factor) => factor * power >= least) ?? 10);
}

function drawGrid({ x, y }: Scale, step: number, xMax: number, xTitle: string): string {
  const bottom = y(0);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const upright = Array.from({ length: Math.round(xMax / step) + 1 }, (_, index) => {
    const at = x(index * step).toFixed(1);
    return `<line x1="${at}" x2="${at}" y1="${TOP}" y2="${bottom}" stroke="${COLOURS.grid}"/><text x="${at}" y="${bottom + 17}" text-anchor="middle">${(index * step).toFixed(digits)}</text>`;
  });
  const level = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const at = y(share).toFixed(1);
    return `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="${COLOURS.grid}"/><text x="${LEFT - 8}" y="${Number(at) + 4}" text-anchor="end">${share * 100}</text>`;
  });
  const middle = (TOP + bottom) / 2;
  return [
    ...upright,
    ...level,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 14}" text-anchor="middle">${escapeXml(xTitle)}</text>`,
    `<text x="16" y="${middle}" text-anchor="middle" transform="rotate(-90 16 ${middle})">verified, % of the object</text>`,
  ].join('\n  ');
}

function drawMarkLines({ x, y }: Scale, marks: readonly Mark[]): string {
  return marks
    .map(({ seconds }) => {
      const at = x(seconds).toFixed(1);
      return `<line x1="${at}" x2="${at}" y1="${TOP}" y2="${y(0)}" stroke="${COLOURS.spread}" stroke-dasharray="2 3"/>`;
    })
    .join('\n  ');
}

/** One below the other at the foot of their lines; left of the line where there is room. */
function drawMarkLabels({ x, y }: Scale, marks: readonly Mark[]): string {
  return marks
    .map(({ label, seconds }, index) => {
      const isLeft = x(seconds) - label.length * CHARACTER_WIDTH > LEFT + 10;
      const at = (x(seconds) + (isLeft ? -6 : 6)).toFixed(1);
      const baseline = y(0) - 10 - 17 * (marks.length - 1 - index);
      return `<text x="${at}" y="${baseline}" text-anchor="${isLeft ? 'end' : 'start'}" paint-order="stroke" stroke="#ffffff" stroke-width="4" stroke-linejoin="round">${escapeXml(label)}</text>`;
    })
    .join('\n  ');
}

function drawCurve({ x, y }: Scale, { kind, points }: Curve): string {
  const { stroke, attributes } = STYLES[kind];
  const path = [[0, 0] as const, ...points].map(
    ([seconds, share]) => `${x(seconds).toFixed(1)},${y(share).toFixed(1)}`,
  );
  const line = `<polyline points="${path.join(' ')}" fill="none" stroke="${stroke}" stroke-linejoin="round" ${attributes}/>`;
  const end = points.at(-1);
  if (kind === 'alone' || end === undefined) return line;
  const [atX, atY] = [x(end[0]), y(end[1])];
  if (kind !== 'killed')
    return `${line}<circle cx="${atX.toFixed(1)}" cy="${atY.toFixed(1)}" r="2.6" fill="${stroke}"/>`;
  const cross = `M${(atX - 4).toFixed(1)} ${(atY - 4).toFixed(1)}l8 8m0 -8l-8 8`;
  return `${line}<path d="${cross}" stroke="${stroke}" stroke-width="2" fill="none"/>`;
}

function drawLegend(curves: readonly Curve[]): string {
  const kinds = (Object.keys(STYLES) as Curve['kind'][]).filter((kind) => curves.some((curve) => curve.kind === kind));
  let left = 12;
  const entries = kinds.map((kind) => {
    const { stroke, attributes, label } = STYLES[kind];
    const own = curves.filter((curve) => curve.kind === kind);
    const end = own[0]?.points.at(-1)?.[0] ?? 0;
    const one = kind === 'slow' ? `${label}, whole at ${end.toFixed(1)} s` : label;
    const text = own.length > 1 ? `${own.length} ${label}` : one;
    const entry = `<line x1="${left}" x2="${left + LEGEND_LINE}" y1="${LEGEND_ROW_Y}" y2="${LEGEND_ROW_Y}" stroke="${stroke}" ${attributes}/><text x="${left + LEGEND_LINE + 6}" y="${LEGEND_ROW_Y + 4}">${text}</text>`;
    left += LEGEND_LINE + 6 + text.length * CHARACTER_WIDTH + 18;
    return entry;
  });
  return entries.join('\n  ');
}
