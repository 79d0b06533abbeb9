import { describe, expect, test } from 'vitest';
import { METRICS, type MetricDefinition } from '../../../src/observability/metrics.ts';
import { readText } from '../../support/project-files.ts';

const definitions: [string, MetricDefinition][] = Object.entries(METRICS);

describe('METRICS', () => {
  test('are named as Prometheus asks', () => {
    for (const [name, { type, help, labels }] of definitions) {
      expect(name).toMatch(/^p2pstore(_[a-z]+)+$/);
      expect({ name, isTotal: name.endsWith('_total') }).toEqual({ name, isTotal: type === 'counter' });
      expect(name).not.toMatch(/_(kb|mb|ms|milliseconds|mbps|percent)(_|$)/);
      expect(help).toMatch(/^[A-Z1].*\.$/);
      for (const label of labels) expect(label).toMatch(/^[a-z]+(_[a-z]+)*$/);
    }
  });

  test('are all in docs/metrics.md, in order, with their types and labels', () => {
    const rows = [...readText('docs/metrics.md').matchAll(/^\| `(p2pstore_\w+)` \| (\w+) \|([^|]*)\|/gm)];
    const documented = rows.map(([, name, type, labels = '']) => ({
      name,
      type,
      labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label),
    }));
    expect(documented).toEqual(definitions.map(([name, { type, labels }]) => ({ name, type, labels: [...labels] })));
  });
});
