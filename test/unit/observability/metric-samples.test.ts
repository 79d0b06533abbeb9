import { describe, expect, test } from 'vitest';
import { MetricSamples } from '../../../src/observability/metric-samples.ts';

describe('MetricSamples', () => {
  test('format() is the text format of Prometheus', async () => {
    const samples = new MetricSamples();
    samples.add('p2pstore_info', { segment: 'a "b"\\\n' }, 1);
    samples.add('p2pstore_downloads', {}, 0);
    samples.addEach('p2pstore_downloaded_bytes_total', 'source_role', { gold: 2 ** 53 - 1, replica: 0 });
    expect(await samples.format()).toBe(
      [
        '# HELP p2pstore_info Always 1; its label names the store.',
        '# TYPE p2pstore_info gauge',
        'p2pstore_info{segment="a \\"b\\"\\\\\\n"} 1',
        '',
        '# HELP p2pstore_downloads Downloads in progress.',
        '# TYPE p2pstore_downloads gauge',
        'p2pstore_downloads 0',
        '',
        '# HELP p2pstore_downloaded_bytes_total Verified bytes that downloads have taken, by the role of who gave them.',
        '# TYPE p2pstore_downloaded_bytes_total counter',
        'p2pstore_downloaded_bytes_total{source_role="gold"} 9007199254740991',
        'p2pstore_downloaded_bytes_total{source_role="replica"} 0',
        '',
      ].join('\n'),
    );
  });

  test('values of the same labels add up, and one text knows nothing of another', async () => {
    const samples = new MetricSamples();
    samples.add('p2pstore_objects', { role: 'gold' }, 2);
    samples.add('p2pstore_objects', { role: 'gold' }, 3);
    expect(await samples.format()).toContain('p2pstore_objects{role="gold"} 5\n');
    expect(await samples.format()).toContain('p2pstore_objects{role="gold"} 5\n');
    expect(await new MetricSamples().format()).toBe('\n');
  });
});
