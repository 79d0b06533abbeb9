/** Reads the text format of Prometheus. */

const LINE = /^(\w+)(?:\{(.*)\})? (\S+)$/;

/**
 * The value of the only series of that name whose labels include the given ones; undefined when there is none.
 *
 * @throws There are several.
 */
export function metricOf(
  text: string,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  const found = text.split('\n').filter((line) => {
    const [, lineName, lineLabels = ''] = LINE.exec(line) ?? [];
    return lineName === name && wanted.every((label) => `,${lineLabels},`.includes(`,${label},`));
  });
  if (found.length > 1) throw new Error(`Cannot read ${name}: there are several series\n${found.join('\n')}`);
  return found[0] === undefined ? undefined : Number(LINE.exec(found[0])?.[3]);
}

/** Values of several metrics without labels, or of `name{label="value"}`. */
export function metricsOf(text: string, ...series: readonly string[]): Record<string, number | undefined> {
  const lines = new Map(text.split('\n').map((line) => [line.replace(/ \S+$/, ''), Number(line.split(' ').at(-1))]));
  return Object.fromEntries(series.map((one) => [one, lines.get(one)]));
}
