/** Values of metrics at one moment, and their text for Prometheus. */
import { METRICS, type MetricDefinition, type MetricLabels, type MetricName } from './metrics.ts';

/** What a scrape is answered with; HTTP wants it in `Content-Type`. */
export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export class MetricSamples {
  readonly #samples = new Map<string, Sample[]>();

  /** Values of the same labels add up. */
  add<N extends MetricName>(name: N, labels: MetricLabels<N>, value: number): void {
    const samples = this.#samples.get(name);
    if (samples === undefined) this.#samples.set(name, [{ labels, value }]);
    else samples.push({ labels, value });
  }

  /** One sample for each value of the only label of a metric. */
  addEach<N extends MetricName>(name: N, label: keyof MetricLabels<N>, values: Readonly<Record<string, number>>): void {
    for (const [key, value] of Object.entries(values)) this.add(name, { [label]: key } as MetricLabels<N>, value);
  }

  /** The text format of Prometheus, version 0.0.4. Metrics without a value are left out. */
  async format(): Promise<string> {
    // Loaded by the first scrape: who never asks pays nothing.
    const { Counter, Gauge, Registry } = await import('prom-client');
    const registry = new Registry();
    for (const [name, samples] of this.#samples) {
      const { type, help, labels }: MetricDefinition = METRICS[name as MetricName];
      const settings = { name, help, labelNames: labels, registers: [registry] };
      const metric = type === 'counter' ? new Counter(settings) : new Gauge(settings);
      for (const { labels: values, value } of samples) metric.inc(values, value);
    }
    return await registry.metrics();
  }
}
